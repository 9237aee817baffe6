"""From a trained run to recommendations: lists, reasons, similar items, retrieval for large catalogues."""
