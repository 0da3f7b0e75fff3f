"""Move image-editing datasets and LoRA weights between disks, trainers and the Hugging Face Hub."""

__version__ = "0.1.0"
