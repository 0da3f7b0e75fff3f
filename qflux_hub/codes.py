"""The table of everything that can be found wrong with a dataset: code, severity, and its documentation.

``qflux check --list-codes`` and ``--explain CODE`` print from here, and a finding can only be made from here, so the
documentation is complete. A code never changes its meaning. Errors stop an upload; warnings and notes do not (with
``--strict``, warnings do).
"""

from __future__ import annotations

from dataclasses import dataclass

from qflux_hub.report import Finding, Severity


@dataclass(frozen=True, slots=True)
class Code:
    """One kind of finding. Calling it makes the finding."""

    name: str
    severity: Severity
    title: str
    page: str

    def __call__(
        self,
        where: str,
        message: str,
        *,
        line: int | None = None,
        fix: str | None = None,
        sample: tuple[str, str] | None = None,
        severity: Severity | None = None,
    ) -> Finding:
        """A finding of this kind. ``severity`` is given only where a rule makes this one milder or graver."""
        return Finding(self.name, severity or self.severity, where, message, line, fix, sample)


CODES: dict[str, Code] = {}


def _code(name: str, severity: Severity, title: str, page: str) -> Code:
    CODES[name] = Code(name, severity, title, " ".join(page.split()))
    return CODES[name]


# --- what belongs to what ---------------------------------------------------------------------------------------

MISSING_CONTROL = _code(
    "missing-control",
    "warning",
    "A sample has no control image and is left out.",
    """An edit needs something to start from, so a sample without any control image is not uploaded. The message names
    files whose name nearly fits. In a folder, the main control of `<base>.txt` is `control_images/<base>.png` (or
    another image extension), letter for letter; in a table it is the `control` column.""",
)
MISSING_MAIN_CONTROL = _code(
    "missing-main-control",
    "warning",
    "A sample has numbered controls but no main one.",
    """`<base>_control_1` is there, `<base>` is not. The sample is valid and its controls keep their order, but a
    trainer that takes the first image as the one to edit will take `_control_1`.""",
)
MISSING_TARGET = _code(
    "missing-target",
    "warning",
    "A training sample has no target image.",
    """Samples of `train` are usually trained towards a target image. The sample is kept, with an empty target; most
    trainers cannot batch it together with others. Samples of other splits need no target.""",
)
CONTROL_GAP = _code(
    "control-gap",
    "warning",
    "The numbers of a sample's controls have a gap.",
    """`_control_1` and `_control_3` without `_control_2`. The controls are used in the order of their numbers; nothing
    is put into the gap. Usually a file is missing.""",
)
BAD_CONTROL_NUMBER = _code(
    "bad-control-number",
    "warning",
    "A file or column is named like a control, but with a number that is none.",
    """Numbers start at 1 and have no leading zeros: `_control_0` and `_control_01` are not guessed at and not used.""",
)
LEGACY_CONTROL_NAME = _code(
    "legacy-control-name",
    "warning",
    "A control image has a name in the old `<base>_N` form.",
    """Only `<base>_control_N` is a further control. Older tools took any `<base>_<digits>` file, which mixed up samples
    such as `img` and `img_1`. The file is not used.""",
)
AMBIGUOUS_FILE = _code(
    "ambiguous-file",
    "warning",
    "Two files claim the same role of the same sample.",
    """For example `cat.png` and `cat.jpg`. One is taken, in the order .png .jpg .jpeg .webp .bmp .tiff .tif; the other
    is left out.""",
)
SHADOWED_NAME = _code(
    "shadowed-name",
    "note",
    "A file would fit two samples by its name.",
    """`cat_mask.png` belongs to the sample `cat_mask` when that sample exists, and never to `cat`. If it was meant to
    be the mask of `cat`, rename the sample.""",
)
MASK_TWICE = _code(
    "mask-twice",
    "warning",
    "A sample's mask lies both beside its controls and beside its target.",
    """The one beside the controls is used. Some trainers' own loaders take the other one.""",
)
MASK_BESIDE_TARGET = _code(
    "mask-beside-target",
    "note",
    "A sample's mask lies beside its target.",
    """It is used. The documented place is the control folder, and some tools look only there.""",
)
ORPHAN_CONTROL = _code(
    "orphan-control",
    "warning",
    "An image in the control folder belongs to no sample.",
    """A sample is a prompt file: `control_images/cat.png` is used when `training_images/cat.txt` exists, letter for
    letter.""",
)
ORPHAN_MASK = _code(
    "orphan-mask",
    "warning",
    "A mask belongs to no sample.",
    """`<base>_mask` is used when `<base>.txt` exists, letter for letter.""",
)
ORPHAN_TARGET = _code(
    "orphan-target",
    "warning",
    "A target image has no prompt.",
    """`training_images/cat.png` without `training_images/cat.txt`: a sample needs a prompt, so the image is not
    used.""",
)
UNUSED_FILE = _code(
    "unused-file",
    "note",
    "A file or folder is not part of the dataset.",
    """It is neither an image nor a prompt, or lies where none is expected. It is left aside. One finding stands for all
    files of a folder.""",
)
JUNK = _code(
    "junk",
    "note",
    "Systems left their litter in a folder.",
    """AppleDouble files (`._*`), .DS_Store and Thumbs.db are written by file managers. They are never part of the
    dataset; other tools trip over `._cat.txt`. One finding stands for all files of a folder.""",
)
UNDECODABLE_NAME = _code(
    "undecodable-name",
    "error",
    "A file or folder has a name that is not UTF-8.",
    """Ids, tables and the Hub are UTF-8, so the file cannot be uploaded under its name and is left out. Archives made
    on other systems often unpack to such names; `convmv` renames whole folders.""",
)
UNREADABLE_FILE = _code(
    "unreadable-file",
    "error",
    "A file or folder cannot be opened.",
    """The message has the system's reason: no permission, a path too long, or a file that went away after it was
    listed. `--skip-bad` leaves out the samples that need it.""",
)
BAD_SPLIT_NAME = _code(
    "bad-split-name",
    "warning",
    "A folder or CSV has the shape of a split, but not a legal name.",
    """Split names are made of letters, digits, underscores and dots. It is left aside.""",
)
EMPTY_SPLIT = _code(
    "empty-split",
    "error",
    "A split has no sample that can be uploaded.",
    """The message says which of the three conditions failed: prompts, control images, or their names.""",
)
DUPLICATE_ID = _code(
    "duplicate-id",
    "error",
    "Two samples of a split have the same id.",
    """Ids are how later uploads know which sample changed, so each may stand once in its split. In a table, an `id`
    column settles it.""",
)

# --- prompts ----------------------------------------------------------------------------------------------------

EMPTY_PROMPT = _code(
    "empty-prompt",
    "error",
    "A prompt is empty.",
    """The file or cell holds nothing but white space. Usually the caption was never written;
    `--allow-empty-prompt` uploads it as it is.""",
)
UNDECODABLE_PROMPT = _code(
    "undecodable-prompt",
    "error",
    "A prompt is not UTF-8 text.",
    """The message says at which byte it stops being UTF-8. Typically the file was saved as Latin-1, Windows-1252
    (curly quotes) or UTF-16.""",
)
PROMPT_BOM = _code(
    "prompt-bom",
    "note",
    "A prompt starts with a byte order mark.",
    """The mark is not part of the prompt that is uploaded; other tools may train on it.""",
)
PROMPT_LINE_ENDS = _code(
    "prompt-line-ends",
    "note",
    "A prompt has the line ends of Windows or of old Macs.",
    """CRLF and CR become LF in the prompt that is uploaded; other tools may train on the carriage returns.""",
)

# --- tables -----------------------------------------------------------------------------------------------------

UNDECODABLE_TABLE = _code(
    "undecodable-table",
    "error",
    "A CSV is not UTF-8 text, or not CSV.",
    """The message says at which byte or line. Spreadsheets export UTF-8 under the name `CSV UTF-8`.""",
)
TABLE_BOM = _code(
    "table-bom",
    "note",
    "A CSV starts with a byte order mark.",
    """It is set aside. Other tools may take it for a part of the first column's name.""",
)
MISSING_COLUMN = _code(
    "missing-column",
    "error",
    "A CSV lacks a column that every sample needs.",
    """`prompt` and one of `control`, `path_control`, `control_N`, `path_control_N` must be there.""",
)
DUPLICATE_COLUMN = _code(
    "duplicate-column",
    "error",
    "Two columns of a CSV mean the same.",
    """For example `image` and `target`, or the same name twice. Which one holds is not guessed.""",
)
RESERVED_COLUMN = _code(
    "reserved-column",
    "error",
    "A column has a name that the dataset on the Hub needs for itself.",
    """`control_images`, `prompt` and the others are columns there already. This happens to the column `prompt` when
    `--column prompt=…` names another one. Rename the column.""",
)
UNNAMED_COLUMN = _code(
    "unnamed-column",
    "note",
    "A column of a CSV has no name.",
    """What it holds cannot be carried along. Usually it is the row number that a data frame writes by itself.""",
)
RAGGED_ROW = _code(
    "ragged-row",
    "error",
    "A row has more or fewer cells than the header.",
    """Usually a comma in a prompt without quotes around it: every cell after it would slide into the wrong column.
    Write the prompt as "a cat, then a dog".""",
)
OTHER_DELIMITER = _code(
    "other-delimiter",
    "note",
    "A CSV is separated by something else than commas.",
    """Semicolons and tabs are understood. Other tools may not.""",
)
MISSING_FILE = _code(
    "missing-file",
    "error",
    "A table names a file that does not exist.",
    """Paths are relative to the dataset's folder. A wrong image extension is corrected when exactly one image with that
    name exists. `--skip-bad` leaves such samples out.""",
)
CORRECTED_EXTENSION = _code(
    "corrected-extension",
    "note",
    "A table names a file by another extension than it has.",
    """The one image with the same name was taken.""",
)
OUTSIDE_ROOT = _code(
    "outside-root",
    "error",
    "A path leads out of the dataset's folder.",
    """Absolute paths and `..` may not leave the folder, and a link must end inside it: otherwise any file of this
    machine could be published by mistake. `--follow-links` allows links, nothing allows paths.""",
)

# --- the Hub -----------------------------------------------------------------------------------------------------

TOKENS_DIFFER = _code(
    "tokens-differ",
    "warning",
    "Two variables hold different access tokens.",
    """The first of HF_TOKEN, HUGGINGFACE_HUB_TOKEN and HUGGING_FACE_HUB_TOKEN is used. Other tools may take
    another.""",
)
BROKEN_INDEX = _code(
    "broken-index",
    "warning",
    "The index on the Hub cannot be read.",
    """It is written anew from the source; until then no shard counts as unchanged.""",
)
DOT_IN_REPO_NAME = _code(
    "dot-in-repo-name",
    "warning",
    "The repo's name has a dot.",
    """Some trainers take a name with a dot for a local file and do not look on the Hub.""",
)

# --- image files ------------------------------------------------------------------------------------------------

EMPTY_FILE = _code(
    "empty-file",
    "error",
    "An image file has no bytes.",
    """Usually a copy or a download that was interrupted.""",
)
LFS_POINTER = _code(
    "lfs-pointer",
    "error",
    "An image file is a Git LFS pointer.",
    """The repository was cloned without its large files. `git lfs pull` fetches them.""",
)
HTML_FILE = _code(
    "html-file",
    "error",
    "An image file is a web page.",
    """A download that ended on an error or login page, saved under the image's name.""",
)
NOT_AN_IMAGE = _code(
    "not-an-image",
    "error",
    "A file has an image's name but not an image's content.",
    """The first bytes are none of PNG, JPEG, WebP, BMP, TIFF or GIF.""",
)
TRUNCATED_IMAGE = _code(
    "truncated-image",
    "error",
    "An image file ends too early.",
    """Its last part is missing, or its header is cut. Training would stop at it.""",
)
DAMAGED_IMAGE = _code(
    "damaged-image",
    "error",
    "An image file is damaged.",
    """A checksum inside the file does not match its bytes, or decoding it fails.""",
)
WRONG_EXTENSION = _code(
    "wrong-extension",
    "warning",
    "An image's content is of another format than its name says.",
    """For example a JPEG named `.png`. The bytes are uploaded as they are and load well; tools that trust the
    extension do not.""",
)
SAME_IMAGE_IN_SPLITS = _code(
    "same-image-in-splits",
    "warning",
    "The same image bytes stand in train and in another split.",
    """A model that has seen the image in training is not tested by it.""",
)
CHANGED_FILE = _code(
    "changed-file",
    "error",
    "A file changed while it was read.",
    """Something writes to the dataset during the upload. Run again when it is done.""",
)

SAFETY = frozenset({OUTSIDE_ROOT.name})
"""Findings that end a job with the exit code for safety rather than for data."""

SKIPPABLE = frozenset(
    code.name
    for code in (
        MISSING_FILE,
        UNREADABLE_FILE,
        UNDECODABLE_PROMPT,
        EMPTY_FILE,
        LFS_POINTER,
        HTML_FILE,
        NOT_AN_IMAGE,
        TRUNCATED_IMAGE,
        DAMAGED_IMAGE,
    )
)
"""Errors of one sample that ``--skip-bad`` turns into leaving that sample out."""
