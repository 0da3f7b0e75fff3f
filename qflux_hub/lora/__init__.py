"""LoRA weights: read strictly, described honestly, compared, uploaded once and downloaded verified."""
