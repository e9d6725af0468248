"""The TeViT architecture in PyTorch: backbones, feature pyramid, RoIAlign and the refinement stages. Tensors in,
tensors out.
"""
