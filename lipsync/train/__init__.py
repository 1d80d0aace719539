"""How the mouth network was made: needs the extra `train`; nothing of it runs in the product."""
