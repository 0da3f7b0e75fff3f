"""The table of everything that can be found wrong with a dataset: code, severity, and its documentation.

``qflux check --list-codes`` and ``--explain CODE`` print from here, and a finding can only be made from here, so the
documentation is complete. A code never changes its meaning. Errors stop an upload; warnings and notes do not (with
``--strict``, warnings do).
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from qflux_hub.errors import UsageError
from qflux_hub.report import Finding, Severity


@dataclass(frozen=True, slots=True)
class Code:
    """One kind of finding. Calling it makes the finding. ``fix`` is the way out; errors and warnings have one."""

    name: str
    severity: Severity
    title: str
    page: str
    fix: str = ""

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
        """A finding of this kind. ``severity`` is given only where a rule makes this one milder or graver, ``fix`` only
        where more can be said than for all of the kind ("" for nothing).
        """
        way_out = self.fix if fix is None else fix
        return Finding(self.name, severity or self.severity, where, message, line, way_out or None, sample)

    @property
    def answer(self) -> str:
        """The one thing a script wants, as ``--explain`` prints it with ``--quiet``."""
        return self.title

    def to_dict(self) -> dict[str, str | None]:
        """The page as ``--explain --json`` prints it."""
        told = {"code": self.name, "severity": self.severity, "title": self.title, "page": self.page}
        return {**told, "fix": self.fix or None}


@dataclass(frozen=True, slots=True)
class CodeTable:
    """All codes, in the order of this file."""

    codes: tuple[Code, ...]

    @property
    def answer(self) -> str:
        """The one thing a script wants, as ``--list-codes`` prints it with ``--quiet``: the names, a line each."""
        return "\n".join(code.name for code in self.codes)

    def to_dict(self) -> dict[str, Any]:
        """The table as ``--list-codes --json`` prints it."""
        return {"codes": [code.to_dict() for code in self.codes]}


CODES: dict[str, Code] = {}


def _code(name: str, severity: Severity, title: str, page: str, fix: str = "") -> Code:
    CODES[name] = Code(name, severity, title, " ".join(page.split()), fix)
    return CODES[name]


def list_codes() -> CodeTable:
    """Everything that can be found."""
    return CodeTable(tuple(CODES.values()))


def explain(name: str) -> Code:
    """The code of that name. Raises UsageError, with the nearest ones, when there is none."""
    wanted = name.strip().strip("[]").lower().replace("_", "-")
    if wanted not in CODES:
        words = [code for code in CODES if wanted and wanted in code]
        near = list(dict.fromkeys([*get_close_matches(wanted, CODES, 3, 0.6), *words]))[:5]
        hint = f"Did you mean {', '.join(near)}?" if near else "`qflux check --list-codes` lists them."
        raise UsageError(f"There is no code {name!r}.", hint=hint)
    return CODES[wanted]


# --- what belongs to what ---------------------------------------------------------------------------------------

MISSING_CONTROL = _code(
    "missing-control",
    "warning",
    "A sample has no control image and is left out.",
    """An edit needs something to start from, so a sample without any control image is not uploaded. The message names
    files whose name nearly fits. In a folder, the main control of `<base>.txt` is `control_images/<base>.png` (or
    another image extension), letter for letter; in a table it is the `control` column.""",
    "give it a control image, or remove the sample",
)
MISSING_MAIN_CONTROL = _code(
    "missing-main-control",
    "warning",
    "A sample has numbered controls but no main one.",
    """`<base>_control_1` is there, `<base>` is not. The sample is valid and its controls keep their order, but a
    trainer that takes the first image as the one to edit will take `_control_1`.""",
    "name the image that is edited as the main control",
)
MISSING_TARGET = _code(
    "missing-target",
    "warning",
    "A training sample has no target image.",
    """Samples of `train` are usually trained towards a target image. The sample is kept, with an empty target; most
    trainers cannot batch it together with others. Samples of other splits need no target.""",
    "add its target, or move it to another split than train",
)
CONTROL_GAP = _code(
    "control-gap",
    "warning",
    "The numbers of a sample's controls have a gap.",
    """`_control_1` and `_control_3` without `_control_2`. The controls are used in the order of their numbers; nothing
    is put into the gap. Usually a file is missing.""",
    "add the missing control, or number the others without a gap",
)
BAD_CONTROL_NUMBER = _code(
    "bad-control-number",
    "warning",
    "A file or column is named like a control, but with a number that is none.",
    """Numbers start at 1 and have no leading zeros: `_control_0` and `_control_01` are not guessed at and not used.""",
    "number it from 1 on, without leading zeros",
)
LEGACY_CONTROL_NAME = _code(
    "legacy-control-name",
    "warning",
    "A control image has a name in the old `<base>_N` form.",
    """Only `<base>_control_N` is a further control. Older tools took any `<base>_<digits>` file, which mixed up samples
    such as `img` and `img_1`. The file is not used. `qflux fix` renames it.""",
    "rename it to <base>_control_N; `qflux fix` does it",
)
AMBIGUOUS_FILE = _code(
    "ambiguous-file",
    "warning",
    "Two files claim the same role of the same sample.",
    """For example `cat.png` and `cat.jpg`. One is taken, in the order .png .jpg .jpeg .webp .bmp .tiff .tif; the other
    is left out.""",
    "keep one of them, and rename or remove the other",
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
    "remove the one that is not meant",
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
    "name it like the sample it belongs to, or remove it",
)
ORPHAN_MASK = _code(
    "orphan-mask",
    "warning",
    "A mask belongs to no sample.",
    """`<base>_mask` is used when `<base>.txt` exists, letter for letter.""",
    "name it <base>_mask like the sample it belongs to, or remove it",
)
ORPHAN_TARGET = _code(
    "orphan-target",
    "warning",
    "A target image has no prompt.",
    """`training_images/cat.png` without `training_images/cat.txt`: a sample needs a prompt, so the image is not
    used.""",
    "write its prompt, or remove it",
)
UNUSED_FILE = _code(
    "unused-file",
    "note",
    "A file or folder is not part of the dataset.",
    """It is neither an image nor a prompt, or lies where none is expected. It is left aside. One finding stands for all
    files of a folder. A warning for a folder such as `train/masks/` or `masks/`, whose images have the names of
    samples: masks and controls are looked for in `control_images/` alone.""",
)
JUNK = _code(
    "junk",
    "note",
    "Systems left their litter in a folder.",
    """AppleDouble files (`._*`), .DS_Store and Thumbs.db are written by file managers. They are never part of the
    dataset; other tools trip over `._cat.txt`. One finding stands for all files of a folder. `qflux fix` deletes
    them.""",
)
UNDECODABLE_NAME = _code(
    "undecodable-name",
    "error",
    "A file or folder has a name that is not UTF-8.",
    """Ids, tables and the Hub are UTF-8, so the file cannot be uploaded under its name and is left out. Archives made
    on other systems often unpack to such names; `convmv` renames whole folders.""",
    "rename it, or unpack its archive again with the right encoding",
)
UNREADABLE_FILE = _code(
    "unreadable-file",
    "error",
    "A file or folder cannot be opened.",
    """The message has the system's reason: no permission, a path too long, or a file that went away after it was
    listed. `--skip-bad` leaves out the samples that need it.""",
    "look at its permissions and its disk",
)
BAD_SPLIT_NAME = _code(
    "bad-split-name",
    "warning",
    "A folder or CSV has the shape of a split, but not a legal name.",
    """Split names are made of letters, digits, underscores and dots. It is left aside.""",
    "rename it with letters, digits, underscores and dots, if it is a split",
)
EMPTY_SPLIT = _code(
    "empty-split",
    "error",
    "A split has no sample that can be uploaded.",
    """The message says which of the three conditions failed: prompts, control images, or their names.""",
    "complete one of its samples, or remove the split",
)
DUPLICATE_ID = _code(
    "duplicate-id",
    "error",
    "Two samples of a split have the same id.",
    """Ids are how later uploads know which sample changed, so each may stand once in its split. In a table, an `id`
    column settles it.""",
    "give each an id of its own",
)

# --- samples beside each other -----------------------------------------------------------------------------------

UNEVEN_CONTROLS = _code(
    "uneven-controls",
    "note",
    "Samples of a split have different numbers of controls.",
    """Training with a batch size of 1 takes them as they are. In larger batches, qflux's trainer takes the number of
    controls from the first sample: it drops the further controls of samples that have more, and stops with a KeyError
    such as 'control_1' at one that has fewer. A control beyond its `controls_size` is an IndexError.""",
)
UNEVEN_MASKS = _code(
    "uneven-masks",
    "note",
    "Some samples of a split have a mask, others have none.",
    """Training with a batch size of 1 takes them as they are. In larger batches, qflux's trainer stops with KeyError
    'mask' at a sample without one; when the first sample has none, the masks of all others are dropped without a
    word.""",
)
UNEVEN_TARGETS = _code(
    "uneven-targets",
    "note",
    "Some samples of a split have a target, others have none.",
    """Training with a batch size of 1 takes them as they are. In larger batches, qflux's trainer stops with a KeyError
    at a sample without one; when the first sample has none, the targets of all others are dropped without a word.""",
)
IDENTICAL_PROMPTS = _code(
    "identical-prompts",
    "note",
    "Many samples of a split have the same prompt.",
    """Right for a model that learns one edit. Otherwise a template that was never filled in, or a script that wrote one
    caption everywhere. Told from five samples on, when they are a twentieth of the split.""",
)
TARGET_IS_CONTROL = _code(
    "target-is-control",
    "warning",
    "A target is the same image as a control of its sample.",
    """Byte for byte. The sample teaches to change nothing, whatever its prompt says. Usually the edited image was never
    put in place.""",
    "put the edited image there, if it is not meant as an example of no change",
)
ASPECT_DIFFERS = _code(
    "aspect-differs",
    "warning",
    "A target has another aspect than its main control.",
    """By more than two percent, as both are displayed. Trainers bring the two to one size: they stretch or crop one of
    them, so that pixels do not lie on each other any more. Right for edits that extend a picture.""",
    "crop both to the same part, if they should lie on each other",
)
DUPLICATE_SAMPLE = _code(
    "duplicate-sample",
    "warning",
    "Two samples of a split have the same images and the same prompt.",
    """Byte for byte, masks set aside. The sample is trained twice as often as the others.""",
    "remove one of them",
)
DUPLICATE_IMAGE = _code(
    "duplicate-image",
    "note",
    "The same image bytes stand in several files of a split.",
    """Right for a reference that several samples share. Otherwise a copy that was made by mistake. One finding stands
    for all copies; masks, and what other findings explain, are set aside.""",
)
NEAR_DUPLICATE = _code(
    "near-duplicate",
    "warning",
    "Two images in the same role nearly look the same.",
    """Only looked for with `--near-duplicates`. Compared are targets with targets, main controls with main controls,
    and so on, over all splits, by the 64-bit perceptual hash (imagehash's phash). qflux's trainer names what it caches
    by that hash: images with equal hashes share what was computed of the first, also two plain surfaces of different
    colours. A note when up to four bits differ.""",
    "remove one of them, if they show the same",
)

# --- masks -------------------------------------------------------------------------------------------------------

MASK_SIZE_DIFFERS = _code(
    "mask-size-differs",
    "warning",
    "A mask has another size than its target.",
    """Compared as displayed, with the main control where there is no target. qflux's trainer does not resize masks,
    unless `resize_controls_mask_to_image` is set; others stretch them.""",
    "resize the mask to that size, without smoothing",
)
MASK_EMPTY = _code(
    "mask-empty",
    "warning",
    "A mask is black all over.",
    """Nothing is masked. A mask of zeros and ones looks like that as well: trainers take 255 as one. Of more than 500
    masks in a split, not all are looked at without `--decode`: see masks-sampled.""",
    "paint what is masked white (255), or remove the mask",
)
MASK_FULL = _code(
    "mask-full",
    "warning",
    "A mask is white all over.",
    """Everything is masked, which is the same as no mask. Of more than 500 masks in a split, not all are looked at
    without `--decode`: see masks-sampled.""",
    "paint what is not masked black, or remove the mask",
)
MASK_NOT_BINARY = _code(
    "mask-not-binary",
    "warning",
    "A mask is not black and white.",
    """More than a tenth of its pixels are neither nearly black nor nearly white: a photo instead of a mask, or a soft
    mask. Of more than 500 masks in a split, not all are looked at without `--decode`: see masks-sampled.""",
    "make it black and white, unless it is soft on purpose",
)
MASKS_SAMPLED = _code(
    "masks-sampled",
    "note",
    "Not all masks of a split were decoded.",
    """Only pixels show whether a mask is empty, full or no mask at all, and decoding many takes longer than the rest
    of a check. Without `--decode`, a check decodes at most 500 masks of a split, an upload at most 50: the smallest
    files, as masks of one colour are; the largest, as photos are; and some between, evenly spread. Sizes and damage
    are checked of all.""",
    "`qflux check --decode` looks at all of them",
)

# --- prompts ----------------------------------------------------------------------------------------------------

EMPTY_PROMPT = _code(
    "empty-prompt",
    "error",
    "A prompt is empty.",
    """The file or cell holds nothing but white space. Usually the caption was never written;
    `--allow-empty-prompt` uploads it as it is.""",
    "write the prompt, or allow it with --allow-empty-prompt",
)
UNDECODABLE_PROMPT = _code(
    "undecodable-prompt",
    "error",
    "A prompt is not UTF-8 text.",
    """The message says at which byte it stops being UTF-8. Typically the file was saved as Latin-1, Windows-1252
    (curly quotes) or UTF-16. `qflux fix` converts it where that is safe to say.""",
    "save it as UTF-8; `qflux fix` shows what it can convert",
)
PROMPT_BOM = _code(
    "prompt-bom",
    "note",
    "A prompt starts with a byte order mark.",
    """The mark is not part of the prompt that is uploaded; other tools may train on it. `qflux fix` removes it.""",
)
PROMPT_LINE_ENDS = _code(
    "prompt-line-ends",
    "note",
    "A prompt has the line ends of Windows or of old Macs.",
    """CRLF and CR become LF in the prompt that is uploaded; other tools may train on the carriage returns. `qflux fix`
    puts LF into the file.""",
)

# --- tables -----------------------------------------------------------------------------------------------------

UNDECODABLE_TABLE = _code(
    "undecodable-table",
    "error",
    "A table is not UTF-8 text, or not what its name says.",
    """The message says at which byte or line. Spreadsheets export UTF-8 under the name `CSV UTF-8`. `qflux fix`
    converts other encodings where that is safe to say.""",
    "write or export it again, as UTF-8",
)
TABLE_BOM = _code(
    "table-bom",
    "note",
    "A CSV starts with a byte order mark.",
    """It is set aside. Other tools may take it for a part of the first column's name. `qflux fix` removes it.""",
)
MISSING_COLUMN = _code(
    "missing-column",
    "error",
    "A table lacks a column that every row needs.",
    """`prompt` and one of `control`, `path_control`, `control_N`, `path_control_N` must be there; in a validation file,
    `caption`.""",
    "add the column, or say which one it is with --column ROLE=COLUMN",
)
DUPLICATE_COLUMN = _code(
    "duplicate-column",
    "error",
    "Two columns of a table mean the same.",
    """For example `image` and `target`, or the same name twice; or some samples have texts under a name, others files.
    Which one holds is not guessed.""",
    "rename or remove one of them",
)
RESERVED_COLUMN = _code(
    "reserved-column",
    "error",
    "A column has a name that the dataset on the Hub needs for itself.",
    """`control_images`, `prompt` and the others are columns there already. This happens to the column `prompt` when
    `--column prompt=…` names another one. Rename the column.""",
    "rename the column",
)
UNEVEN_LISTS = _code(
    "uneven-lists",
    "error",
    "A list of captions and its list of files have different numbers of lines.",
    """Line N of one belongs to line N of the other, so one line too many shifts all that come after it. Nothing is
    paired until both have the same number. Usually a caption holds a line break, or a line was left out.""",
    "let line N of one belong to line N of the other",
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
    'put cells that hold a delimiter into quotes: "a cat, then a dog"',
)
OTHER_DELIMITER = _code(
    "other-delimiter",
    "note",
    "A CSV is separated by something else than commas.",
    """Semicolons and tabs are understood. Other tools may not.""",
)
UNKNOWN_COLUMN = _code(
    "unknown-column",
    "note",
    "A CSV has columns that mean nothing to qflux.",
    """They are carried along as text, under their own names. If one of them was meant to be an image or the prompt,
    `--column ROLE=NAME` says so.""",
)
SHIFTED_CELLS = _code(
    "shifted-cells",
    "warning",
    "A cell looks as if it belonged into another column.",
    """A path where the prompt should stand, or a sentence where a path should. Usually a column was inserted or removed
    in some rows only, or the header has another order than the rows. An error where the path is needed.""",
    "compare the row with the header",
)
OTHER_FILES = _code(
    "other-files",
    "warning",
    "A folder that a dataset was written to has other files.",
    """They stay as they are. A reader takes the samples of a folder by their names, so what lies there from before may
    be read along: older samples, or an image of the same name with another extension.""",
    "write to a folder of its own, or remove what does not belong there",
)
UNEVEN_MEMBERS = _code(
    "uneven-members",
    "warning",
    "The first samples of a tar have different members.",
    """`datasets` takes the columns of tars from their first five samples, and refuses tars in which these differ: where
    one of them has a mask and another has none, or one control is a PNG and another a JPEG. qflux and the webdataset
    library read such tars.""",
    "write another layout for datasets, such as --as parquet",
)
UNUSED_IMAGE = _code(
    "unused-image",
    "note",
    "Images lie in the folder that no row of a CSV names.",
    """They are not uploaded. One finding stands for all images of a folder.""",
)
MISSING_FILE = _code(
    "missing-file",
    "error",
    "A table names a file that does not exist.",
    """Paths are relative to the dataset's folder, or to that of the validation file. A wrong image extension is
    corrected when exactly one image with that name exists. `--skip-bad` leaves such samples out. A warning where a
    validation file names a folder that this machine does not have at all, but the one that trains may.""",
    "mend the path, add the file, or remove the row",
)
CORRECTED_EXTENSION = _code(
    "corrected-extension",
    "note",
    "A table names a file by another extension than it has.",
    """The one image with the same name was taken. `qflux fix` writes its name into the table.""",
)
OUTSIDE_ROOT = _code(
    "outside-root",
    "error",
    "A path leads out of the dataset's folder.",
    """Absolute paths and `..` may not leave the folder, and a link must end inside it: otherwise any file of this
    machine could be published by mistake. `--follow-links` allows links, nothing allows paths.""",
    "move the file into the folder; links may be allowed with --follow-links",
)

# --- repairs -----------------------------------------------------------------------------------------------------

INTERRUPTED_FIX = _code(
    "interrupted-fix",
    "warning",
    "A repair was interrupted, so some files are old and some are new.",
    """The next `qflux fix --apply` takes its changes back before it repairs anew: what stood there before is certain,
    and files may have changed since the interrupted one was planned.""",
    "run `qflux fix --apply` again",
)
CANNOT_UNDO = _code(
    "cannot-undo",
    "error",
    "A repair cannot be taken back.",
    """The file changed since, or its old name is taken. Nothing is overwritten, so nothing of that log was taken back.
    The originals lie in the log's folder.""",
    "put it back by hand; the originals lie in the log's folder",
)

# --- the Hub -----------------------------------------------------------------------------------------------------

TOKENS_DIFFER = _code(
    "tokens-differ",
    "warning",
    "Two variables hold different access tokens.",
    """The first of HF_TOKEN, HUGGINGFACE_HUB_TOKEN and HUGGING_FACE_HUB_TOKEN is used. Other tools may take
    another.""",
    "unset the variable that is not meant",
)
KEPT_ON_HUB = _code(
    "kept-on-hub",
    "note",
    "A sample that others added or changed on the Hub stays as it is there.",
    """This source did not touch it since it last saw the Hub, so both sides' work is kept. `--mirror` makes the Hub
    equal to the source instead.""",
)
EDIT_CONFLICT = _code(
    "edit-conflict",
    "error",
    "A sample was changed here and, differently, on the Hub.",
    """Neither version is thrown away in silence: nothing is published. Take over their version into the source, which
    `qflux download-dataset` fetches, or overrule it with `--mirror`.""",
    "take over their version into the source, or overrule it with --mirror",
)
BROKEN_INDEX = _code(
    "broken-index",
    "warning",
    "The index on the Hub cannot be read.",
    """Until an upload writes it anew, no shard counts as unchanged, and uploads read from the shards what is in them.
    What others did there since the source last saw the Hub cannot be kept where it lies, and is an `edit-conflict`.""",
    "upload the whole dataset once more; nothing else is needed",
)
UNINDEXED_DATA = _code(
    "unindexed-data",
    "warning",
    "Data on the Hub of which the index does not tell.",
    """Something else than qflux wrote it. Readers that go by the index, such as `qflux preview`, do not see it; loading
    the dataset does.""",
    "download it with `qflux download-dataset`, and look at the folder",
)
DOT_IN_REPO_NAME = _code(
    "dot-in-repo-name",
    "warning",
    "The repo's name has a dot.",
    """Some trainers take a name with a dot for a local file and do not look on the Hub.""",
    "choose a name without a dot",
)

# --- image files ------------------------------------------------------------------------------------------------

EMPTY_FILE = _code(
    "empty-file",
    "error",
    "An image file has no bytes.",
    """Usually a copy or a download that was interrupted.""",
    "copy or download it again",
)
LFS_POINTER = _code(
    "lfs-pointer",
    "error",
    "An image file is a Git LFS pointer.",
    """The repository was cloned without its large files. `git lfs pull` fetches them.""",
    "run `git lfs pull` where the dataset came from",
)
HTML_FILE = _code(
    "html-file",
    "error",
    "An image file is a web page.",
    """A download that ended on an error or login page, saved under the image's name.""",
    "download it again, logged in",
)
NOT_AN_IMAGE = _code(
    "not-an-image",
    "error",
    "A file has an image's name but not an image's content.",
    """The first bytes are those of no image format. Usually a download that went wrong, a file of another kind under
    an image's name, or a disk that lost its content.""",
    "replace it by an image, or remove it from the dataset",
)
UNSUPPORTED_FORMAT = _code(
    "unsupported-format",
    "error",
    "An image is of a format that trainers do not read.",
    """HEIC, AVIF, JPEG XL, JPEG 2000, Photoshop, ICO and the like, whatever the name says. PNG, JPEG, WebP, BMP, TIFF
    and GIF are read.""",
    "save it as PNG, JPEG or WebP",
)
DECOMPRESSION_BOMB = _code(
    "decompression-bomb",
    "error",
    "An image has more pixels than decoders accept.",
    """Pillow, with which trainers and `datasets` load images, refuses above 178,956,970 pixels and warns above half of
    that, because a small file can fill the memory. Such images are never decoded here, also not with `--decode`. A
    warning between the two limits.""",
    "make it smaller, or remove it from the dataset",
)
TRUNCATED_IMAGE = _code(
    "truncated-image",
    "error",
    "An image file ends too early.",
    """Its last part is missing, or its header is cut. Training would stop at it.""",
    "copy or download it again",
)
DAMAGED_IMAGE = _code(
    "damaged-image",
    "error",
    "An image file is damaged.",
    """A checksum inside the file does not match its bytes, or decoding it fails. Without `--decode`, the pixels of JPEG
    and WebP files are not looked at; those of other formats are, or have checksums.""",
    "copy or download it again",
)
FRAMES_DIFFER = _code(
    "frames-differ",
    "warning",
    "A target video has another number of frames than its control.",
    """Models that follow a control frame by frame need as many of both; trainers cut the longer one, or pick frames of
    each that do not belong together. Told where the library that reads videos is installed.""",
    "cut both to the same part",
)
NOT_A_SOUND = _code(
    "not-a-sound",
    "error",
    "A file has a sound's name but cannot be heard.",
    """Its first bytes are those of no sound, or libsndfile cannot read it; with `--decode`, all of it is decoded.
    Usually a copy or a download that was interrupted, or a file of another kind under the name.""",
    "copy or download it again, or remove it from the dataset",
)
TRUNCATED_MEDIA = _code(
    "truncated-media",
    "error",
    "A video or sound file ends too early.",
    """Its container says that it is longer, or the part is missing that is written when a recording ends. Decoders stop
    at it, or lose the end. Formats that do not say how long they are (Ogg, MP3, MPEG streams) are not noticed.""",
    "copy or download it again",
)
TOO_LARGE_FILE = _code(
    "too-large-file",
    "error",
    "A file is too large for a table on the Hub.",
    """A cell of a Parquet file holds less than 2 GB, and so do all controls of one kind of a sample together. Folders
    and tars hold larger ones.""",
    "cut it into parts, or encode it smaller",
)
UNSEEN_MEDIA = _code(
    "unseen-media",
    "note",
    "Videos or sounds were looked at from outside only.",
    """The library that opens them is not installed, so it is known what they are and whether they were cut off, but not
    whether they can be shown. Videos need `pip install "qflux-hub[video]"`, sounds `"qflux-hub[audio]"`.""",
)
WRONG_EXTENSION = _code(
    "wrong-extension",
    "warning",
    "An image's content is of another format than its name says.",
    """For example a JPEG named `.png`. The bytes are uploaded as they are and load well; tools that trust the
    extension do not. `qflux fix-extensions` renames such files, and the cells of tables that name them.""",
    "rename it; `qflux fix-extensions` does it",
)
SIXTEEN_BIT = _code(
    "sixteen-bit",
    "warning",
    "An image has more than 8 bits per channel.",
    """Of grey images with 16 or 32 bits, Pillow's `convert("RGB")` makes nearly white ones, because it cuts every value
    off at 255 instead of scaling it: depth maps and medical images are lost that way. A note for colour, where half of
    the bits are dropped as one would expect.""",
    "scale it down to 8 bits",
)
CMYK = _code(
    "cmyk",
    "warning",
    "An image has CMYK colours.",
    """Made for print. Trainers convert it to RGB without its colour profile, which changes its colours.""",
    "convert it to sRGB",
)
ALPHA = _code(
    "alpha",
    "note",
    "An image has an alpha channel.",
    """Trainers drop it (`convert("RGB")`): transparent parts show whatever colour is hidden there, usually black or
    white. Harmless where the image is opaque. A warning for masks: of a mask that was painted into the alpha channel,
    nothing is left.""",
)
PALETTE = _code(
    "palette",
    "note",
    "An image has a palette of at most 256 colours.",
    """Loads well. Photos lose colours in a palette; in a mask, the palette's colours count, not its numbers.""",
)
ANIMATED = _code(
    "animated",
    "warning",
    "An image has several pictures.",
    """An animation, or a TIFF with pages. Only the first picture is used.""",
    "save the picture that you mean by itself",
)
EXIF_ROTATION = _code(
    "exif-rotation",
    "note",
    "An image is stored turned.",
    """Cameras store pictures as they were held and write into EXIF how to turn them. `datasets` and this tool honour
    it, and sizes are told as displayed. Tools that do not will see it lying on its side, and its mask, if that was
    drawn upright, elsewhere.""",
)
BROKEN_EXIF = _code(
    "broken-exif",
    "warning",
    "The EXIF block of an image is broken.",
    """An error where Pillow raises at it, because then `datasets` stops at the image in the middle of an epoch. Where
    it is overlooked, the picture may be turned wrongly.""",
    "remove it: `exiftool -all= FILE`, or save the image again",
)
SAME_IMAGE_IN_SPLITS = _code(
    "same-image-in-splits",
    "warning",
    "The same image bytes stand in train and in another split.",
    """A model that has seen the image in training is not tested by it. Masks are set aside.""",
    "remove one of them, or do not judge by that split",
)
CHANGED_FILE = _code(
    "changed-file",
    "error",
    "A file changed while it was read.",
    """Something writes to the dataset meanwhile. Run again when it is done.""",
    "run again when nothing writes to the dataset",
)

# --- validation files -------------------------------------------------------------------------------------------

WRONG_VALUE = _code(
    "wrong-value",
    "error",
    "A validation row has a value that cannot be meant.",
    """Text where a number stands, half a pixel, no frames at all, a number where a path stands. Rates are in frames per
    second, sizes in pixels, and all of them are above zero; what is empty or null is absent.""",
    "write a value of the right kind, or leave it out",
)
UNEVEN_VALIDATION = _code(
    "uneven-validation",
    "error",
    "The validation rows cannot be dealt out evenly.",
    """With several shards or ranks, each takes as many rows as the others; where one has none left, the rest wait for
    it until the collective times out. `--multiple-of` is `dp_shards` times `tp_degree`.""",
    "add rows or remove some",
)
ODD_SIZE = _code(
    "odd-size",
    "warning",
    "A validation row asks for a size that models do not make.",
    """CogView4, HunyuanVideo and Wan refuse sizes that are no multiple of 16, others round them; LTX-Video wants
    multiples of 32. Of height and width, one alone is paired with the model's default for the other.""",
    "write multiples of 16, of height and width both",
)
ODD_FRAMES = _code(
    "odd-frames",
    "warning",
    "A validation row asks for a number of frames that models do not make.",
    """Video models make one frame and then groups of four: 1, 5, 9, … 49, 81, 121 (LTX-Video: groups of eight). Other
    numbers are rounded, some in silence.""",
    "write one more than a multiple of 4, such as 49",
)
STRETCHED_INPUT = _code(
    "stretched-input",
    "warning",
    "A validation image or video has another aspect than what is made of it.",
    """By more than two percent, as displayed. Pipelines bring it to the height and width of its row without cropping,
    so that everything in it gets taller or wider.""",
    "crop it, or ask for a size of its own aspect",
)
SHORT_VIDEO = _code(
    "short-video",
    "warning",
    "A validation video has fewer frames than its row asks for.",
    """Pipelines that follow a video frame by frame have nothing to follow at the end: some make fewer frames, others
    stop. Those that take its first frame only do not mind.""",
    "ask for fewer frames, or name a longer video",
)
NOT_A_VIDEO = _code(
    "not-a-video",
    "error",
    "A file cannot be shown as a video.",
    """Its first bytes are those of no video, or FFmpeg's readers find no pictures in it, or stop at one; without
    `--decode`, only the header and the first frame are looked at. Usually a copy or download that was interrupted.""",
    "copy or download it again",
)
UNSEEN_INPUT = _code(
    "unseen-input",
    "note",
    "A file that a validation row names was not looked at.",
    """It is an address, which finetrainers fetches when it validates and a check does not.""",
)
TRAINER_DIFFERS = _code(
    "trainer-differs",
    "note",
    "A validation file is not taken by finetrainers as its guide says.",
    """What its release of June 2025 makes of it: JSON Lines and extensions in capitals are refused, an empty path stops
    it, relative paths begin where it is started, and of a CSV, pandas takes texts like NA for nothing. qflux reads
    such files as they are meant.""",
)

# --- LoRA weights -----------------------------------------------------------------------------------------------

NOT_SAFETENSORS = _code(
    "not-safetensors",
    "error",
    "A weights file is not a safetensors file.",
    """A pickle, a ZIP, a web page, a Git LFS pointer or something else under the name. Pickles can run code when they
    are loaded and are never uploaded: load the file where you trust it, and save it with
    `safetensors.torch.save_file`.""",
    "save the weights with `safetensors.torch.save_file`, or download them again",
)
BAD_HEADER = _code(
    "bad-header",
    "error",
    "The header of a safetensors file breaks a rule.",
    """The message names the rule. Two readers may understand such a file differently, or not at all. The rules are
    those of the reference implementation; in addition no name may stand twice.""",
    "save it again with `safetensors.torch.save_file`",
)
TRUNCATED_WEIGHTS = _code(
    "truncated-weights",
    "error",
    "A weights file ends too early.",
    """Its header promises more bytes than there are: the trainer is still writing it, the disk is full, or a download
    broke off. Run again when it is complete.""",
    "run again when it is complete, or copy it again",
)
TRAILING_BYTES = _code(
    "trailing-bytes",
    "error",
    "Bytes follow the last tensor of a weights file.",
    """The format allows none. Save the file again; bytes after the end may belong to another file that hides there.""",
    "save it again with `safetensors.torch.save_file`",
)
ODD_HEADER = _code(
    "odd-header",
    "warning",
    "The header of a safetensors file is unusual.",
    """Readers accept it today, but the format does not want it, or the Hub does not show it.""",
    "save it again with `safetensors.torch.save_file`",
)
NOT_A_LORA = _code(
    "not-a-lora",
    "error",
    "A weights file holds no LoRA.",
    """None of its tensors is named like one of a LoRA. The message says what it looks like: a full checkpoint, a VAE,
    an embedding, an optimizer's state.""",
    "give the file that the trainer saved as the LoRA",
)
UNKNOWN_TENSORS = _code(
    "unknown-tensors",
    "warning",
    "A LoRA holds tensors that belong to none of its modules.",
    """Loaders ignore them, or refuse the file because of them.""",
    "save the file again without them, if a loader refuses it",
)
MIXED_FORMATS = _code(
    "mixed-formats",
    "warning",
    "The tensors of a LoRA are named in two ways.",
    """For example partly as kohya and partly as diffusers names them. Loaders decide by the first match and miss or
    refuse the rest.""",
    "let one tool save all of it",
)
UNPAIRED_WEIGHTS = _code(
    "unpaired-weights",
    "error",
    "One half of a low-rank pair is missing.",
    """A module has a down (A) without an up (B), or the other way round. Half a pair does nothing.""",
    "save it again from the trainer's checkpoint",
)
RANK_MISMATCH = _code(
    "rank-mismatch",
    "error",
    "The two halves of a low-rank pair do not fit.",
    """The inner dimensions of A and B differ, so they cannot be multiplied.""",
    "save it again from the trainer's checkpoint",
)
MIXED_DTYPES = _code(
    "mixed-dtypes",
    "note",
    "The weights of a LoRA have several dtypes.",
    """Nothing is wrong with that; a loader converts them to one.""",
)
FLOAT32_WEIGHTS = _code(
    "float32-weights",
    "note",
    "The weights of a LoRA are stored as 32-bit floats.",
    """That doubles the size and changes nothing at inference, where base models run in 16 bits.""",
)
MISSING_ALPHA = _code(
    "missing-alpha",
    "warning",
    "No loader can know the alpha of a LoRA.",
    """Alpha divided by rank is the scale with which a LoRA is added. A file that does not say it is loaded with alpha =
    rank, so with scale 1, whatever it was trained with. `--extra train_config.yaml --write-alpha` writes it down.""",
    "name the training's configuration: --extra train_config.yaml --write-alpha",
)
ALPHA_CONFLICT = _code(
    "alpha-conflict",
    "warning",
    "Two places say different alphas.",
    """Each loader believes another place, so the same file has another strength in each. The message names both.""",
    "find out which one it was trained with, and save the file with that alone",
)
SCALES_DIFFER = _code(
    "scales-differ",
    "warning",
    "Loaders will use another scale than the LoRA was trained with.",
    """Alpha is known, but it stands where some loaders do not look. `--write-alpha` writes it where they do.""",
    "write alpha where they look: --write-alpha",
)
DORA_DROPPED = _code(
    "dora-dropped",
    "warning",
    "A LoRA holds DoRA magnitudes, which some loaders drop.",
    """diffusers leaves them out without an error, and the result differs from the training.""",
    "load it with a loader that knows DoRA, or train without",
)
ADAPTER_IN_KEYS = _code(
    "adapter-name-in-keys",
    "warning",
    "The tensors of a LoRA carry the name of an adapter.",
    """Such as `.lora_A.default.weight`: a raw dump from training rather than a saved LoRA. Many loaders do not know the
    keys.""",
    "save it with the trainer's function for that, such as `save_lora_weights`",
)
NO_ADAPTER_CONFIG = _code(
    "no-adapter-config",
    "warning",
    "A LoRA in peft's format has no adapter_config.json.",
    """peft does not load it without. Put the file beside the weights, or upload it with `--extra`.""",
    "put the file beside the weights, or upload it with --extra",
)
BAD_CONFIG = _code(
    "bad-config",
    "warning",
    "A configuration beside the weights cannot be read.",
    """It is no JSON or YAML, so nothing was learned from it.""",
    "mend or remove it",
)
NAN_WEIGHTS = _code(
    "nan-weights",
    "error",
    "Weights are not a number.",
    """The training diverged. Images made with such a LoRA are black.""",
    "take an earlier checkpoint, and train on with a lower learning rate",
)
INFINITE_WEIGHTS = _code(
    "infinite-weights",
    "error",
    "Weights are infinite.",
    """The training diverged, or the weights did not fit into 16 bits.""",
    "take an earlier checkpoint, or save it as 32-bit floats",
)
NO_EFFECT = _code(
    "no-effect",
    "warning",
    "The up halves (B) of a LoRA are all zero.",
    """They are so before the first training step. Adding such a LoRA changes nothing.""",
    "take a later checkpoint",
)
ZERO_TAIL = _code(
    "zero-tail",
    "error",
    "The end of a weights file is all zeros.",
    """Some writers make the file at its full length first: it is still being written, or writing it broke off.""",
    "run again when it is complete, or copy it again",
)
TWIN_LEFT_OUT = _code(
    "twin-left-out",
    "warning",
    "Of two LoRAs that belong together, one is left out.",
    """Models with two experts have a LoRA for high and one for low noise. Give both files, or their folder.""",
    "give both files, or their folder",
)
CHANGED_WEIGHTS = _code(
    "changed-weights",
    "error",
    "A weights file changed while it was read.",
    """The trainer is still writing it. Run again when it is done.""",
    "run again when nothing writes to it",
)
UNKNOWN_BASE = _code(
    "unknown-base",
    "note",
    "The base model of a LoRA is not known.",
    """Its keys fit several models, and nothing names one. The card is better with it: `--base-model user/name`.""",
    "--base-model user/name",
)
UNKNOWN_LICENSE = _code(
    "unknown-license",
    "note",
    "The licence of the base model is not known.",
    """The card says none. Add `license` to its front matter; it will stay.""",
    "add `license` to the card's front matter",
)
KEPT_IN_CARD = _code(
    "kept-in-card",
    "note",
    "The card says something else than this upload knows.",
    """What stands in a card is the user's and is not replaced. The message names both.""",
)
SECRET_FOUND = _code(
    "secret-found",
    "error",
    "A file holds what looks like an access token or password.",
    """Uploads with such a file are refused. Take it out and revoke it: what was in a training folder may be elsewhere,
    too. `--scrub` uploads a cleaned copy, `--allow-leaks` uploads it as it is.""",
    "take it out and revoke it; --scrub uploads a cleaned copy",
)
PATH_FOUND = _code(
    "path-found",
    "warning",
    "A file names folders of this machine.",
    """Absolute paths tell names of users, customers and servers. `--scrub` uploads a copy with the last part only.""",
    "--scrub uploads a copy with the last part only",
)
NAME_FOUND = _code(
    "name-found",
    "warning",
    "A file names a user or a mail address.",
    """From a home folder's path, or an address in a text. `--scrub` uploads a copy without.""",
    "--scrub uploads a copy without it",
)
POSITION_FOUND = _code(
    "position-found",
    "warning",
    "An image says where it was taken.",
    """Its EXIF block holds GPS coordinates. `--scrub` uploads a copy without; its pixels are not touched.""",
    "--scrub uploads a copy without it",
)
WORKFLOW_FOUND = _code(
    "workflow-found",
    "warning",
    "An image holds the workflow or the prompts it was made with.",
    """Generators write prompts, model names and paths into their images. `--scrub` uploads a copy without.""",
    "--scrub uploads a copy without it",
)
CAPTIONS_FOUND = _code(
    "captions-found",
    "warning",
    "The metadata of a LoRA holds captions or folders of its training data.",
    """kohya's trainers write every tag of every caption into the header. `--scrub` uploads a copy with the keys that
    loaders need.""",
    "--scrub uploads a copy without them",
)
CLEANED = _code(
    "cleaned",
    "note",
    "What is uploaded is a cleaned copy of a file.",
    """`--scrub` took out what the message names. The file on this disk still holds it; a token in it may be elsewhere,
    too, so revoke it.""",
)
CACHED_COPY = _code(
    "cached-copy",
    "warning",
    "A cached copy was used that could not be compared with the Hub.",
    """The Hub was not asked, or did not answer. Its file may be newer.""",
    "run again when the Hub answers",
)

DAMAGED_CACHE = _code(
    "damaged-cache",
    "warning",
    "A cached file was damaged and was fetched again.",
    """Its bytes had another hash than it is named by: the disk, or a program that wrote into the cache.""",
    "nothing this time; look at the disk if it happens again",
)

OF_PIXELS = frozenset({MASK_EMPTY.name, MASK_FULL.name, MASK_NOT_BINARY.name})
"""What only the pixels of a mask show."""

OF_THE_WALK = frozenset({OUTSIDE_ROOT.name, MISSING_FILE.name})
"""What listing a folder finds of links; of no weight where no sample can lie."""

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
        UNSUPPORTED_FORMAT,
        DECOMPRESSION_BOMB,
        BROKEN_EXIF,
        SHIFTED_CELLS,
        TRUNCATED_IMAGE,
        DAMAGED_IMAGE,
        NOT_A_VIDEO,
        NOT_A_SOUND,
        TRUNCATED_MEDIA,
        TOO_LARGE_FILE,
    )
)
"""Errors of one sample that ``--skip-bad`` turns into leaving that sample out."""
