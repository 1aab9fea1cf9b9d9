"""The community's data as its users have it, turned into nnU-Net folders."""
