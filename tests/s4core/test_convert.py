"""Weights of the reference implementations, loaded into our modules, give the recorded outputs."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from s4core import TaskShape, build, convert
from s4core.convert.arrays import Arrays, assign_linear
from s4core.models import lssl, s4, s5, sashimi
from s4core.nn.block import Block
from s4core.nn.options import StackOptions
from s4core.nn.pool import BlockPool
from s4core.nn.s4nd import S4ND
from s4core.nn.stack import Stack
from s4core.nn.systems import SystemOptions, make_layer, make_system
from s4core.nn.wavelet import Wavelet
from s4core.ops import dense_kernel, hippo
from s4core.ssm.mimo import MimoOptions, MimoSSM

GOLDEN = Path(__file__).parents[1] / "golden"
BARE = {"norm": "none", "residual": "none", "prenorm": False}


def load(name):
    with np.load(GOLDEN / f"{name}.npz") as file:
        arrays = {k: file[k] for k in file.files}
    state = {k[3:]: v for k, v in arrays.items() if k.startswith("sd.")}
    values = {
        k: torch.tensor(v) for k, v in arrays.items() if "." not in k and v.dtype.kind in "fic"
    }
    config = json.loads(str(arrays["config"])) if "config" in arrays else {}
    return values, state, config


def steps_of(module, x):
    state, outputs = module.initial_state(x.shape[0]), []
    for x_t in x.unbind(1):
        y, state = module.step(x_t, state)
        outputs.append(y)
    return torch.stack(outputs, 1)


def s4_block(dtype=torch.float64, **fields):
    options = SystemOptions(d_model=4, d_state=8, **BARE, **fields)
    return Block(make_layer(options, 4, 20), options, d_model=4, index=1).to(dtype).eval()


@pytest.fixture(params=[torch.float64, torch.float32], ids=str)
def dtype(request):
    return request.param


def assert_close(ours, theirs, tolerance=None):
    """Relative to the largest value, by the precision of ours: 1e-9, or the promised 1e-6."""
    tolerance = tolerance or {torch.float64: 1e-9, torch.float32: 1e-6}[ours.dtype]
    assert (ours - theirs).abs().max() < tolerance * theirs.abs().max()


@pytest.mark.parametrize("tuned", [False, True])
def test_a_standalone_s4_block_before_and_after_its_first_forward(tuned, dtype):
    values, state, _ = load("s4block_dplr")
    if tuned:
        with np.load(GOLDEN / "s4block_dplr.npz") as file:
            after = {k: file[k] for k in file.files if k.startswith("sd_after_first_forward.")}
        state |= {k.split(".", 1)[1]: v for k, v in after.items()}
        assert int(state["layer.kernel.l_kernel"]) == 20
    block, x = s4_block(dtype), values["x"].to(dtype)
    convert.load_s4_block(block, state)
    assert_close(block(x), values["y"])
    assert_close(steps_of(block, x), values["y_step"])
    assert_close(block(x, values["lengths"]), values["y_lengths"])


def test_a_block_tuned_to_another_length_is_tuned_anew(dtype):
    values, state, _ = load("s4block_dplr")
    with np.load(GOLDEN / "s4block_dplr.npz") as file:
        after = {k: file[k] for k in file.files if k.startswith("sd_after_first_forward.")}
    state |= {k.split(".", 1)[1]: v for k, v in after.items()}
    options = SystemOptions(d_model=4, d_state=8, **BARE)
    block = Block(make_layer(options, 4, 31), options, d_model=4, index=1).to(dtype).eval()
    convert.load_s4_block(block, state)
    assert_close(block(values["x"].to(dtype)), values["y"])


def test_a_block_in_eval_mode_sees_how_the_weights_are_damped():
    _, state, _ = load("s4block_dplr")
    block = s4_block()
    convert.load_s4_block(block, state)
    assert block.mixer.ssm.is_damped
    state["layer.kernel.A_real"] = np.full((4, 4), -9.0)  # -Re A = exp(-9)
    convert.load_s4_block(block, state)
    assert not block.mixer.ssm.is_damped


@pytest.mark.parametrize("prefix", ["", "layer."])
@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("diag_lin_bidirectional_ch2", {"structure": "diagonal", "init": "lin", "channels": 2}),
        ("dplr_legs", {}),
        ("dplr_fout_rank2", {"init": "fout", "rank": 2}),
    ],
)
def test_a_bare_layer_gives_all_its_channels(name, fields, prefix, dtype):
    """An S4Block without its output layer holds what its FFTConv holds, one level deeper."""
    values, _, config = load(name)
    state = {f"kernel.{k[4:]}": v for k, v in values.items() if k.startswith("raw_")}
    state |= {"D": values["D"], "kernel.l_kernel": torch.tensor(0)}
    bidirectional = config.get("bidirectional", False)
    options = SystemOptions(d_model=3, d_state=8, bidirectional=bidirectional, **fields)
    layer = make_layer(options, 3, 24).to(dtype)
    convert.load_s4_layer(layer, {prefix + k: v for k, v in state.items()})
    y = layer(values["u"].to(dtype).transpose(1, 2)).transpose(1, 2)
    assert_close(y, values["y_official"])


def test_the_minimal_s4d_layer(dtype):
    values, state, _ = load("s4d_minimal")
    block = s4_block(dtype, structure="diagonal", init="lin")
    convert.load_s4d_layer(block, state)
    assert_close(block(values["x"].to(dtype).transpose(1, 2)).transpose(1, 2), values["y"])


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("seqmodel_prenorm_layer_dplr", {}),
        (
            "seqmodel_postnorm_batch_eval_bidir",
            {"prenorm": False, "norm": "batch", "bidirectional": True},
        ),
    ],
)
def test_an_isotropic_backbone(name, fields, dtype):
    values, state, _ = load(name)
    options = SystemOptions(d_model=6, n_layers=2, d_state=8, dt_transform="softplus", **fields)
    stack = Stack(options, l_max=20, make_mixer=lambda d, length: make_layer(options, d, length))
    convert.load_s4_backbone(stack.to(dtype).eval(), state)
    x = values["x"].to(dtype)
    assert_close(stack(x), values["y"])
    if "y_step" in values:
        assert_close(steps_of(stack, x), values["y_step"])


@pytest.mark.parametrize(
    ("name", "norm"), [("sashimi_standalone", "layer"), ("sashimi_src", "scalar")]
)
def test_sashimi_with_its_steps(name, norm, dtype):
    values, state, _ = load(name)
    config = sashimi.Config(d_model=6, n_layers=1, d_state=8, pool=(2, 2), ff=2, norm=norm)
    unet = sashimi.build(config, TaskShape(d_input=6, d_output=2, length=32)).backbone
    convert.load_s4_backbone(unet.to(dtype).eval(), state)
    x = values["x"].to(dtype)
    assert_close(unet(x), values["y"])
    assert_close(steps_of(unet, x), values["y_step"])


def test_sashimi_with_interpolation_layers(dtype):
    """The recorded network between layers that are copies of its outermost ones."""
    values, state, _ = load("sashimi_src")
    fields = {"d_model": 6, "n_layers": 1, "d_state": 8, "pool": (2, 2), "norm": "scalar"}
    shape = TaskShape(d_input=6, d_output=2, length=64)
    plain = sashimi.build(sashimi.Config(**fields), dataclasses.replace(shape, length=32))
    plain = plain.backbone.to(dtype).eval()
    convert.load_s4_backbone(plain, state)
    for key in [k for k in state if k.startswith("u_layers.1.")]:
        _, _, layer, rest = key.split(".", 3)
        for j in {"1": (0, 2), "2": (1, 3)}.get(layer, ()):
            state[f"interp_layers.0.{j}.{rest}"] = state[key]
    model = sashimi.build(sashimi.Config(**fields, interp=2), shape)
    convert.load_s4_backbone(model.backbone.to(dtype).eval(), state)
    x = torch.stack([values["x"], values["x"].flip(1)], 2).flatten(1, 2).to(dtype)
    y = model.backbone(x)
    assert_close(y[:, 1::2], values["y"])
    z = x[:, ::2]
    for block in (*plain.top.up, *plain.top.up):
        z = block(z)
    assert_close(y[:, :-2:2], z[:, 1:])
    assert_close(y[:, -2], z[:, -1])


def test_weights_that_do_not_fit_are_named():
    _, state, _ = load("s4block_dplr")
    with pytest.raises(convert.ConversionError, match="no 'layer.D'"):
        convert.load_s4_block(s4_block(), {k: v for k, v in state.items() if k != "layer.D"})
    with pytest.raises(convert.ConversionError, match=r"no output layer.* by load_s4_layer"):
        bare = {k: v for k, v in state.items() if not k.startswith("output_linear")}
        convert.load_s4_block(s4_block(), bare)
    with pytest.raises(convert.ConversionError, match="1 foreign weights have no place.*: extra"):
        convert.load_s4_block(s4_block(), {**state, "extra": np.zeros(1)})
    with pytest.raises(convert.ConversionError, match=r"layer.D is \(1, 4\).* wants \(2, 4\)"):
        convert.load_s4_block(s4_block(channels=2), state)
    with pytest.raises(convert.ConversionError, match="this model 16: check n_layers"):
        config = sashimi.Config(d_model=6, n_layers=2, d_state=8, pool=(2, 2))
        unet = sashimi.build(config, TaskShape(d_input=6, d_output=2, length=32)).backbone
        convert.load_s4_backbone(unet, load("sashimi_standalone")[1])


def s4torch_part(prefix):
    with np.load(GOLDEN / "s4torch_part.npz") as file:
        arrays = {k[len(prefix) + 1 :]: file[k] for k in file.files if k.startswith(prefix + "/")}
    params = {k[7:]: v for k, v in arrays.items() if k.startswith("params/")}
    return {k: torch.tensor(v) for k, v in arrays.items() if "/" not in k}, params


@pytest.mark.parametrize("length", [17, 24])
def test_an_s4torch_layer_by_convolution_and_by_step(length):
    values, params = s4torch_part(f"layer_L{length}")
    layer = convert.s4torch_layer(params, length)
    assert_close(layer(values["u"]), values["y"])
    assert_close(steps_of(layer, values["u"]), values["y"])
    assert_close(layer(values["u"][:, :9]), values["y"][:, :9])
    pieces = layer.forward_with_state(values["u"], layer.initial_state(2))[0]
    assert_close(pieces, values["y"])


def test_s4torch_blocks_with_their_norms_and_pooling():
    values, params = s4torch_part("block_layer_pre")
    block = convert.s4torch_block(StackOptions(d_model=5), 16, params)
    assert_close(block(values["u"]), values["y"])
    values, params = s4torch_part("block_layer_post")
    block = convert.s4torch_block(StackOptions(d_model=5, prenorm=False), 16, params)
    pool = BlockPool("avg", 5, stride=2)
    assert_close(pool(block(values["u"])), values["y"])


def test_an_s4torch_model_of_two_pooled_blocks():
    """The recorded blocks in a row between two maps, as s4torch names them."""
    torch.manual_seed(0)
    values, params = s4torch_part("block_layer_pre")
    state = {f"blocks.{i}.{k}": v for i in (0, 1) for k, v in params.items()}
    encoder, decoder = torch.nn.Linear(2, 5), torch.nn.Linear(5, 3)
    for name, linear in {"encoder": encoder, "decoder": decoder}.items():
        state |= {f"{name}.{k}": v for k, v in linear.state_dict().items()}
    options = StackOptions(d_model=5, n_layers=2, block_pool="avg", pool_stride=2)
    shape = TaskShape(d_input=2, d_output=3, length=16)
    model = convert.s4torch_model(options, shape, state).eval()
    x = torch.randn(2, 16, 2)
    pool = BlockPool("avg", 5, stride=2)
    first = convert.s4torch_block(options, 16, params)
    second = convert.s4torch_block(options, 8, params)
    expected = decoder(pool(second(pool(first(encoder(x))))).mean(1))
    assert_close(model(x), expected)


def test_a_wavelet_adapter():
    with np.load(GOLDEN / "s4torch_part.npz") as file:
        x, y = torch.tensor(file["cwt/x"]), torch.tensor(file["cwt_adapter/y"])
        weight = torch.tensor(file["cwt_adapter/params/linear.weight"])
        bias = torch.tensor(file["cwt_adapter/params/linear.bias"])
    ours = torch.nn.functional.linear(Wavelet(1, 50, crop=False)(x[..., None]), weight, bias)
    assert_close(ours, y, 1e-5)


def s5_part(prefix):
    with np.load(GOLDEN / "s5_jax_part.npz") as file:
        return {k[len(prefix) :]: file[k] for k in file.files if k.startswith(prefix)}


@pytest.mark.parametrize("case", ["zoh_uni_trunc", "bilinear_uni_lecun", "zoh_bi_trunc"])
def test_an_s5_layer(case, dtype):
    arrays = s5_part(f"ssm/{case}/")
    options = MimoOptions(
        d_state=16, blocks=2, discretize=case.split("_")[0], bidirectional="_bi_" in case
    )
    system = MimoSSM(6, options).to(dtype)
    params = {k[7:]: v for k, v in arrays.items() if k.startswith("params/")}
    convert.load_s5_layer(system, params)
    assert_close(system(torch.tensor(arrays["u"]).to(dtype)), torch.tensor(arrays["y64"]))


def s5_model(dtype):
    arrays = s5_part("model/fullglu_bn_pre_bi_pool/")
    config = s5.Config(
        d_model=6, n_layers=2, d_state=8, blocks=1, bidirectional=True, final_act="glu"
    )
    model = build(config, TaskShape(d_input=4, d_output=5, length=21)).to(dtype)
    convert.load_s5_model(
        model, {k: v for k, v in arrays.items() if k.startswith(("params/", "batch_stats/"))}
    )
    return model, {k: torch.tensor(v) for k, v in arrays.items()}


def test_an_s5_model_in_eval_mode(dtype):
    model, arrays = s5_model(dtype)
    log_p = torch.log_softmax(model.eval()(arrays["x"].to(dtype)), -1)
    assert_close(log_p, arrays["logp_eval64"])


def test_an_s5_model_in_training_mode_and_the_statistics_it_leaves(dtype):
    model, arrays = s5_model(dtype)
    log_p = torch.log_softmax(model.train()(arrays["x"].to(dtype)), -1)
    assert_close(log_p, arrays["logp_train64"])
    for i in (0, 1):
        norm = model.backbone.blocks[i].prenorm
        for ours, theirs in (("running_mean", "mean"), ("running_var", "var")):
            expected = arrays[f"batch_stats_after64/encoder/layers_{i}/norm/{theirs}"]
            assert_close(getattr(norm, ours), expected)


def test_a_causal_two_dimensional_layer(dtype):
    values, state, config = load("s4nd_2d_linear_causal")
    options = SystemOptions(d_model=3, d_state=8)
    systems = [make_system(options, 3, l_max=length, kernels=1) for length in config["l_max"]]
    layer = S4ND(systems, tuple(config["l_max"]), bidirectional=False).to(dtype)
    convert.load_s4nd_layer(layer, state)
    y = layer(values["u"].to(dtype).flatten(2).transpose(1, 2)).transpose(1, 2)
    assert_close(y.view_as(values["y"]), values["y"])
    assert_close(y.view_as(values["y"]), values["y_dense"])


def test_a_two_dimensional_block_with_its_pointwise_layers(dtype):
    """The recorded kernels, then gelu, a linear map and its gate."""
    torch.manual_seed(0)
    values, state, config = load("s4nd_2d_linear_causal")
    linear = torch.nn.Linear(3, 6).double()
    state["output_linear.0.weight"] = linear.weight.detach()[..., None]
    state["output_linear.0.bias"] = linear.bias.detach()
    options = SystemOptions(d_model=3, d_state=8, **BARE)
    systems = [make_system(options, 3, l_max=length, kernels=1) for length in config["l_max"]]
    layer = S4ND(systems, tuple(config["l_max"]), bidirectional=False)
    block = Block(layer, options, d_model=3, index=1).to(dtype).eval()
    convert.load_s4_block(block, state)
    y = torch.nn.functional.gelu(values["y"].flatten(2).transpose(1, 2))
    expected = torch.nn.functional.glu(linear(y), -1)
    assert_close(block(values["u"].to(dtype).flatten(2).transpose(1, 2)), expected)


def lssl_block(dtype, **fields):
    config = lssl.Config(d_model=4, d_state=8, **fields, **BARE)
    model = lssl.build(config, TaskShape(d_input=4, d_output=2, length=20))
    return model.to(dtype).eval().backbone.blocks[0]


@pytest.mark.parametrize("learn", ["shared", "per_feature", "fixed"])
def test_an_lssl_layer_with_its_steps(learn, dtype):
    values, state, _ = load("lssl_head_legs_learn1")
    if learn == "per_feature":
        names = [k for k in state if k.startswith("transition.")]
        state |= {k: np.repeat(state[k][None], 4, 0) for k in names if state[k].ndim == 1}
    block, x = lssl_block(dtype, channels=2, learn=learn), values["x"].to(dtype)
    convert.load_lssl_layer(block, state)
    assert_close(block.mixer.ssm.kernel(20), values["K_dense_HML"].transpose(0, 1))
    assert_close(block(x), values["y"])
    assert_close(steps_of(block, x), values["y"])


@pytest.mark.parametrize("transition", ["legs", "legt", "lagt"])
def test_a_fixed_lssl_layer_that_is_kept_as_its_matrices(transition, dtype):
    """LegT's published matrix is half of ours, so its steps are too."""
    torch.manual_seed(0)
    A, B = hippo(transition, 8)
    dt, C = torch.tensor([0.01, 0.02, 0.05, 0.1]).double(), torch.randn(4, 1, 8).double()
    state = {"transition.A": A, "transition.B": B, "C": C, "D": torch.randn(4, 1), "dt": dt}
    linear = torch.nn.Linear(4, 4)
    state |= {f"output_linear.{k}": v for k, v in linear.state_dict().items()}
    block = lssl_block(dtype, learn="fixed", transition=transition, noise=0.0)
    block.mixer.ssm.kernel(20)
    convert.load_lssl_layer(block, state)
    expected = dense_kernel(A.expand(4, 8, 8), B.expand(4, 8), C.transpose(0, 1), dt, 20)
    assert_close(block.mixer.ssm.kernel(20), expected, 1e-6)
    with pytest.raises(convert.ConversionError, match="are not those of transition"):
        convert.load_lssl_layer(block, {**state, "transition.A": A + torch.eye(8)})


def test_a_whole_training_checkpoint_with_encoder_and_decoder(dtype):
    """The recorded backbone between two maps, under the names of a training checkpoint."""
    values, state, _ = load("seqmodel_prenorm_layer_dplr")
    config = s4.Config(d_model=6, n_layers=2, d_state=8, dt_transform="softplus")
    model = build(config, TaskShape(d_input=6, d_output=3, length=20)).to(dtype).eval()
    full = {f"model.{k}": v for k, v in state.items()}
    full |= {"encoder.0.weight": np.eye(6), "encoder.0.bias": np.zeros(6)}
    weight, bias = np.random.default_rng(0).normal(size=(3, 6)), np.ones(3)
    full |= {"decoder.0.output_transform.weight": weight, "decoder.0.output_transform.bias": bias}
    convert.load_s4_model(model, full)
    expected = values["y"].mean(1) @ torch.tensor(weight).t() + 1.0
    assert_close(model(values["x"].to(dtype)), expected)


def test_foreign_weights_reach_a_map_with_weight_norm():
    torch.manual_seed(0)
    foreign = torch.nn.Linear(3, 4)
    ours = torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(3, 4))
    assign_linear(ours, Arrays(foreign.state_dict()))
    x = torch.randn(2, 3)
    assert_close(ours(x), foreign(x))


def loaders():
    """Of each loader: itself, a module to load into and foreign weights that fit."""
    s5_layer = {k[7:]: v for k, v in s5_part("ssm/zoh_uni_trunc/").items() if k[:7] == "params/"}
    s5_whole = s5_part("model/fullglu_bn_pre_bi_pool/")
    s5_whole = {k: v for k, v in s5_whole.items() if k.startswith(("params/", "batch_stats/"))}
    unet = sashimi.Config(d_model=6, n_layers=1, d_state=8, pool=(2, 2), ff=2, norm="scalar")
    shape = TaskShape(d_input=6, d_output=2, length=32)
    return {
        "s4": (convert.load_s4_block, s4_block, load("s4block_dplr")[1]),
        "s4d": (
            convert.load_s4d_layer,
            lambda: s4_block(structure="diagonal", init="lin"),
            load("s4d_minimal")[1],
        ),
        "sashimi": (
            convert.load_s4_backbone,
            lambda: sashimi.build(unet, shape).backbone,
            load("sashimi_src")[1],
        ),
        "lssl": (
            convert.load_lssl_layer,
            lambda: lssl_block(torch.float64, channels=2),
            load("lssl_head_legs_learn1")[1],
        ),
        "s5 layer": (
            convert.load_s5_layer,
            lambda: MimoSSM(6, MimoOptions(d_state=16, blocks=2)),
            s5_layer,
        ),
        "s5 model": (convert.load_s5_model, lambda: s5_model(torch.float64)[0], s5_whole),
        "s4torch": (
            lambda _, state: convert.s4torch_layer(state, 17),
            lambda: None,
            s4torch_part("layer_L17")[1],
        ),
    }


@pytest.mark.parametrize("name", loaders())
def test_an_array_of_any_other_shape_is_named_and_nothing_is_changed(name):
    """Also one that would broadcast, such as the magnitudes of a weight norm or half a readout."""
    load_into, make, state = loaders()[name]
    model = make()
    before = [] if model is None else [v.clone() for v in model.state_dict().values()]
    # One array of each name, whichever block it is in.
    keys = {key.replace("/", ".").rpartition(".")[2]: key for key in state}
    for last, key in keys.items():
        value = torch.as_tensor(state[key])
        if value.ndim and last not in ("I", "ones", "arange"):
            for wrong in (value[..., :-1], value[:-1]):
                with pytest.raises(convert.ConversionError):
                    load_into(model, {**state, key: wrong})
    with pytest.raises(convert.ConversionError, match="no place in this model: extra"):
        load_into(model, {**state, "extra": np.zeros(1)})
    if model is not None:
        for value, kept in zip(model.state_dict().values(), before, strict=True):
            assert torch.equal(value, kept)


@pytest.mark.parametrize("name", [n for n in loaders() if n != "s4torch"])
def test_a_module_that_has_no_place_for_the_weights_is_named(name):
    load_into, _, state = loaders()[name]
    with pytest.raises(convert.ConversionError, match=r"want a \w+ to load into, got Linear"):
        load_into(torch.nn.Linear(1, 1), state)


def test_gated_blocks_have_no_official_weights():
    config = s4.Config(d_model=6, n_layers=2, d_state=8, gates="h3")
    model = build(config, TaskShape(d_input=6, d_output=3, length=20))
    with pytest.raises(convert.ConversionError, match="want a SSMLayer .* got H3Mixer"):
        convert.load_s4_backbone(model.backbone, load("seqmodel_prenorm_layer_dplr")[1])
