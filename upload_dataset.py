"""The documented example: upload a folder of image edits, then load it back. Change the three names to your own."""

from qflux_hub import load_editing_dataset, upload_editing_dataset

root_dir = "tests/data/photo_edits"  # holds train/ and/or test/
repo_id = "me/photo-edits"  # <org_or_user>/<dataset>
hub = "local"  # the embedded Hub, without an account; None for the Hugging Face Hub

report = upload_editing_dataset(root_dir=root_dir, repo_id=repo_id, private=True, hub=hub)
print(f"{report.url}: {'uploaded' if report.changed else 'unchanged, nothing sent'}\n")

dsd = load_editing_dataset(repo_id, hub=hub)
print(dsd)

sample = dsd["train"][0]
for column, value in sample.items():
    print(f"{column}: {value}")
