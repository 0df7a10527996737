"""The side adapter network: mask proposals beside a frozen CLIP, which recognises them (Xu et al., CVPR 2023)."""
