"""The layers of a model in training as CUDA graphs: hundreds of small kernels started by one call.

A model of half a billion parameters is computed faster than a processor can start its kernels one by one. A graph
repeats kernels on the same memory, so sequences are copied there, and their number of tokens is rounded up: what is
too much is a sequence of its own without labels. The output layer stays outside; it sees the tokens with labels alone.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPast

logger = logging.getLogger(__name__)

MOST = 16  # graphs; what does not fit one of them is computed without
LONGEST = 512  # sequences' lengths are rounded up to a multiple, for the attention's sake
DEVIATION = 0.05  # relative, of a graph's result from that without one: rounding stays below, a mistake would not


def rounded_tokens(tokens: int) -> int:
    """Up, by an eighth at most from 4,096 tokens on, so that few graphs serve all steps."""
    step = 512
    while step * 8 < tokens:
        step *= 2
    return -(-tokens // step) * step


@dataclass(frozen=True)
class Shape:
    """What a graph is made for: tokens in all, sequences, and tokens of the longest."""

    tokens: int
    sequences: int
    longest: int

    @classmethod
    def of(cls, tokens: int, sequences: int, longest: int) -> "Shape":
        """The smallest that holds these, and at least one more sequence to fill it up."""
        return cls(0, 1 << sequences.bit_length(), longest).widened(rounded_tokens(tokens), tokens, sequences)

    def widened(self, whole: int, tokens: int, sequences: int) -> "Shape":
        """For `whole` tokens, those beyond `tokens` being those of the sequences beyond `sequences`."""
        filling = -(-(whole - tokens) // (self.sequences - sequences))
        return Shape(whole, self.sequences, -(-max(self.longest, filling) // LONGEST) * LONGEST)


class Graph:
    """Forward and backward pass of the layers for one shape. `inputs` and `hidden` are where they read and write."""

    def __init__(self, shape: Shape, device: torch.device):
        self.shape = shape
        self.forward = torch.cuda.CUDAGraph()
        self.backward = torch.cuda.CUDAGraph()
        self._filling = torch.arange(1, shape.sequences + 1, dtype=torch.int32, device=device) * shape.longest
        self._positions = torch.arange(shape.tokens, device=device)[None]
        bounds = torch.zeros(shape.sequences + 1, dtype=torch.int32, device=device)
        self.inputs: dict[str, Any] = {
            "input_ids": torch.zeros_like(self._positions),
            "position_ids": self._positions.clone(),
            "cu_seq_lens_q": bounds,
            "cu_seq_lens_k": bounds,
            "max_length_q": shape.longest,
            "max_length_k": shape.longest,
            "use_cache": False,
        }
        self.hidden = self.grad = torch.empty(0)

    def fill(self, input_ids: Tensor, position_ids: Tensor, bounds: Tensor) -> None:
        """Take over packed sequences; others, of zeros, fill what is left."""
        tokens, sequences = input_ids.shape[1], len(bounds)
        self.inputs["input_ids"][:, :tokens].copy_(input_ids)
        self.inputs["input_ids"][:, tokens:].zero_()
        self.inputs["position_ids"][:, :tokens].copy_(position_ids)
        self.inputs["position_ids"][:, tokens:].copy_(self._positions[:, : self.shape.tokens - tokens])
        self.inputs["cu_seq_lens_q"][:sequences].copy_(bounds)
        rest = self._filling[: len(self._filling) + 1 - sequences] + tokens
        self.inputs["cu_seq_lens_q"][sequences:].copy_(rest.clamp(max=self.shape.tokens))


class Replay(torch.autograd.Function):
    """The passes of a graph. Its backward pass adds to the gradients of the weights itself."""

    @staticmethod
    def forward(ctx: Any, anchor: Tensor, graph: Graph) -> Tensor:
        """The hidden states, (1, tokens, size). `anchor` requires a gradient and gets none."""
        ctx.graph = graph
        graph.forward.replay()
        hidden: Tensor = graph.hidden.detach()
        return hidden

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, None]:
        """Add the gradients of the weights."""
        ctx.graph.grad.copy_(grad)
        ctx.graph.backward.replay()
        return None, None


class GraphedLayers:
    """Takes the place of the forward pass of a model without its output layer.

    Args:
        model: in training.
        tokens: of the largest graph that is to be expected. It is made first, and smaller ones lie in its memory.
    """

    def __init__(self, model: PreTrainedModel, tokens: int):
        self._most = tokens
        self._forward = model.base_model.forward
        self._parameters = [each for each in model.parameters() if each.requires_grad]
        self._gradients: list[Tensor] = []
        self._graphs: dict[Shape, Graph] = {}
        self._pool = torch.cuda.graph_pool_handle()
        self._anchor = torch.zeros((), device=model.device, requires_grad=True)
        self._working = True

    def __call__(self, input_ids: Tensor, **inputs: Any) -> Any:
        """As the model's own: by a graph where gradients are wanted of packed sequences."""
        bounds = inputs.get("cu_seq_lens_q")
        graph = None
        if self._working and bounds is not None and torch.is_grad_enabled():
            shape = Shape.of(input_ids.shape[1], len(bounds) - 1, inputs["max_length_q"])
            graph = self._graph(shape, input_ids, inputs)
        if graph is None:
            return self._forward(input_ids=input_ids, **inputs)
        graph.fill(input_ids, inputs["position_ids"], bounds)
        return BaseModelOutputWithPast(last_hidden_state=Replay.apply(self._anchor, graph)[:, : input_ids.shape[1]])

    def _graph(self, shape: Shape, input_ids: Tensor, inputs: dict[str, Any]) -> Graph | None:
        self._keep_gradients()
        if not self._graphs:
            whole = max(rounded_tokens(self._most), shape.tokens)
            largest = shape.widened(whole, input_ids.shape[1], len(inputs["cu_seq_lens_q"]) - 1)
            self._record(largest, input_ids, inputs)
        if shape not in self._graphs and self._working and len(self._graphs) < MOST:
            self._record(shape, input_ids, inputs)
        return self._graphs.get(shape)

    def _record(self, shape: Shape, input_ids: Tensor, inputs: dict[str, Any]) -> None:
        graph = Graph(shape, input_ids.device)
        graph.fill(input_ids, inputs["position_ids"], inputs["cu_seq_lens_q"])
        device = input_ids.device.type
        kind, on = torch.get_autocast_dtype(device), torch.is_autocast_enabled(device)
        before = [each.grad for each in self._parameters]
        try:
            with torch.autocast(device, kind, on, cache_enabled=False):  # no graph may hold a copy of the weights
                tried = None if self._graphs else self._tried(graph)
                self._set_gradients(before)
                self._capture(graph)
            if tried is not None:
                self._compare(graph, *tried)
            self._graphs[shape] = graph
        except RuntimeError as error:  # what cannot be captured, and too little memory
            self._working = False
            self._graphs.clear()
            logger.warning("training goes without CUDA graphs and takes longer: %s", str(error).splitlines()[0])
        finally:
            self._set_gradients(before)
            torch.cuda.empty_cache()

    def _keep_gradients(self) -> None:
        """Graphs add to gradients where they lay when the graph was made; a trainer drops them after each step."""
        if not self._gradients:
            self._gradients = [torch.zeros_like(each) for each in self._parameters]
        dropped = [index for index, each in enumerate(self._parameters) if each.grad is None]
        if dropped:
            torch._foreach_zero_([self._gradients[index] for index in dropped])
        for index in dropped:
            self._parameters[index].grad = self._gradients[index]

    def _tried(self, graph: Graph) -> tuple[Tensor, Tensor]:
        """Hidden states and the norm of the gradient without a graph; kernels are chosen and compiled meanwhile."""
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(2):
                self._set_gradients([None] * len(self._parameters))
                hidden = self._forward(**graph.inputs).last_hidden_state
                hidden.backward(hidden.detach())
            norm = _norm([each.grad for each in self._parameters if each.grad is not None])
        torch.cuda.synchronize()
        self._set_gradients([None] * len(self._parameters))
        kept = hidden.detach().clone()
        del hidden
        torch.cuda.empty_cache()
        return kept, norm

    def _capture(self, graph: Graph) -> None:
        with torch.cuda.graph(graph.forward, pool=self._pool, capture_error_mode="thread_local"):
            hidden = self._forward(**graph.inputs).last_hidden_state
        graph.grad = torch.zeros_like(hidden)
        with torch.cuda.graph(graph.backward, pool=self._pool, capture_error_mode="thread_local"):
            hidden.backward(graph.grad)
        graph.hidden = hidden.detach()

    def _compare(self, graph: Graph, expected: Tensor, norm: Tensor) -> None:
        """See that the first graph does what was recorded. Leaves gradients of zero.

        Raises:
            RuntimeError: it does not.
        """
        torch._foreach_zero_(self._gradients)
        graph.forward.replay()
        far = float((graph.hidden - expected).norm() / expected.norm())
        graph.grad.copy_(expected)
        graph.backward.replay()
        times = float(_norm(self._gradients) / norm)
        torch._foreach_zero_(self._gradients)
        if not (far < DEVIATION and abs(times - 1) < DEVIATION):
            raise RuntimeError(
                f"the graph's hidden states are off by {far:.2g}, its gradient is {times:.3g} times as long"
            )

    def _set_gradients(self, gradients: Sequence[Tensor | None]) -> None:
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            parameter.grad = gradient


def _norm(tensors: Sequence[Tensor]) -> Tensor:
    return torch.stack([each.float().norm() for each in tensors]).norm()


@contextmanager
def graphed_layers(model: PreTrainedModel, tokens: int) -> Iterator[None]:
    """Train `model` with graphs of its layers, the largest of them of so many `tokens` (see `GraphedLayers`)."""
    backbone = model.base_model
    backbone.forward = GraphedLayers(model, tokens)
    try:
        yield
    finally:
        del backbone.forward
