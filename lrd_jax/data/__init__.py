"""Raw files in, frozen arrays out: data knows no model."""
