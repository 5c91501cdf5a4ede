"""Which files of weights metrics see by."""

from ganray.config import Section


class MetricWeights(Section):
    """Files of weights that metrics need; nothing is downloaded."""

    features: str = ""
    """File or URI of the network that lpips, dists and the set metrics see by: VGG16 or
    SqueezeNet 1.1, of torchvision or (SqueezeNet) Caffe; .pth, .safetensors or .npz."""
    lpips_heads: str = ""
    """File or URI of LPIPS' linear heads for it; empty weights all channels equally."""
    dists: str = ""
    """File or URI of DISTS' alpha and beta."""
    niqe: str = ""
    """File or URI of NIQE's parameters, of ganray or BasicSR; empty is the shipped ones."""
