"""The parts of Evidence that a method can declare, by the preparation they take. No torch here: help lists methods."""

# Read at a target layer; the graph begins there.
AT_LAYER = frozenset({"acts", "grads", "class_weights", "curvature", "resume", "attention", "to_grid", "class_token"})
# Seen from the stages before the target layer too; the graph begins at the first of them.
AT_STAGES = frozenset({"stages"})
# Differentiated to the pixels: the graph covers the whole network.
TO_PIXELS = frozenset({"input_grads", "guided_grads", "deconv_grads", "bias_grads", "formation_grads"})
BENDS_RELU = frozenset({"guided_grads", "deconv_grads"})
# The weights of self-attention must be computed one by one, which fused kernels don't.
ATTENTION = frozenset({"attention", "formation_grads"})
# Operations are watched or changed as they run, and compiled code shows none.
SEES_OPERATIONS = BENDS_RELU | ATTENTION
# The network is asked again about changed pictures.
ASKS_AGAIN = frozenset({"rescore", "again", "alone", "ascend", "resume"})
# The part after the layer is recorded, to be run again.
RESUMES = frozenset({"resume", "class_weights"})
# Only some networks have these: tried once before a run starts.
NOT_EVERYWHERE = frozenset({"class_weights", "attention", "formation_grads", "bias_grads"})
# These depend on the class or other target; a method without any of them never looks at it.
OF_TARGET = TO_PIXELS | ASKS_AGAIN | AT_STAGES | {"grads", "class_weights", "curvature"}
# Differentiated through all of the network, or twice: nothing there is zero almost everywhere.
DENSE = TO_PIXELS | {"curvature"}
# Read by any method without preparation.
ALWAYS = frozenset(
    (
        "images black logits value target generator component projection to_grid class_token places everywhere at_size"
    ).split()
)
# Sums over channels that --eigen-smooth can replace.
COMBINES = frozenset({"combine"})

ALL = AT_LAYER | AT_STAGES | TO_PIXELS | ASKS_AGAIN | ALWAYS | COMBINES
