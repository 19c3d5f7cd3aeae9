"""The layers of a model in training as CUDA graphs: hundreds of small kernels started by one call.

A model of half a billion parameters is computed faster than a processor can start its kernels one by one. A graph
repeats kernels on the same memory, so sequences are copied there, and their number of tokens is rounded up: what is
too much is a sequence of its own without labels. The output layer stays outside; it sees the tokens with labels alone.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPast

from chattpl.training.static_row import Shape, StaticRow, rounded_tokens

logger = logging.getLogger(__name__)

MOST = 16  # graphs; steps of further shapes are computed without
DEVIATION = 0.05  # relative, of a graph's result from that without one: rounding stays below, a mistake would not


class Graph:
    """Forward and backward pass of the layers for one row. `hidden` is where it writes, `grad` where it reads."""

    def __init__(self, row: StaticRow):
        self.row = row
        self.forward = torch.cuda.CUDAGraph()
        self.backward = torch.cuda.CUDAGraph()
        self.hidden = self.grad = torch.empty(0)


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
        self._graphs: dict[Shape, Graph | None] = {}
        self._pool: Any = None
        self._anchor = torch.zeros((), device=model.device, requires_grad=True)

    def __call__(self, input_ids: Tensor, **inputs: Any) -> Any:
        """As the model's own: by a graph where gradients are wanted of packed sequences."""
        graph = None
        if "cu_seq_lens_q" in inputs and torch.is_grad_enabled():
            graph = self._graph(input_ids, inputs["position_ids"], inputs["cu_seq_lens_q"], inputs["max_length_q"])
        if graph is None:
            return self._forward(input_ids=input_ids, **inputs)
        graph.row.fill(input_ids, inputs["position_ids"], inputs["cu_seq_lens_q"])
        return BaseModelOutputWithPast(last_hidden_state=Replay.apply(self._anchor, graph)[:, : input_ids.shape[1]])

    def _graph(self, input_ids: Tensor, position_ids: Tensor, bounds: Tensor, longest: int) -> Graph | None:
        tokens, sequences = input_ids.shape[1], len(bounds) - 1
        shape = Shape.of(tokens, sequences, longest)
        first, wanted = not self._graphs, [shape]
        if first:
            self._gradients = [torch.zeros_like(each) for each in self._parameters]
            wanted = [shape.widened(max(rounded_tokens(self._most), shape.tokens), tokens, sequences), shape]
        self._keep_gradients()
        for each in wanted:
            if each not in self._graphs and (first or self._made()) and len(self._graphs) < MOST:
                row = StaticRow(each, input_ids.device)
                row.fill(input_ids, position_ids, bounds)
                self._graphs[each] = self._recorded(Graph(row))
        return self._graphs.get(shape)

    def _made(self) -> bool:
        return any(self._graphs.values())

    def _keep_gradients(self) -> None:
        """Graphs add to gradients where they lay when the graph was made; a trainer drops them after each step."""
        dropped = [pair for pair in zip(self._parameters, self._gradients, strict=True) if pair[0].grad is None]
        if dropped:
            torch._foreach_zero_([gradient for _, gradient in dropped])
        for parameter, gradient in dropped:
            parameter.grad = gradient

    def _recorded(self, graph: Graph) -> Graph | None:
        """The graph, made; None where it cannot be: what it takes cannot be captured, or there is too little memory."""
        device = graph.row.inputs["input_ids"].device.type
        kind, on = torch.get_autocast_dtype(device), torch.is_autocast_enabled(device)
        first = not self._made()  # and no gradient yet
        if first:
            self._pool = torch.cuda.graph_pool_handle()  # of a graph that is gone none can be made
        try:
            with torch.autocast(device, kind, on, cache_enabled=False):  # no graph may hold a copy of the weights
                tried = self._tried(graph) if first else None
                self._capture(graph)
            if tried is not None:
                self._compare(graph, *tried)
            return graph
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            logger.warning("without a CUDA graph for %d tokens training takes longer: %s", graph.row.tokens, reason)
            return None
        finally:
            if first:
                torch._foreach_zero_(self._gradients)
            torch.cuda.empty_cache()

    def _tried(self, graph: Graph) -> tuple[Tensor, Tensor]:
        """Hidden states and the norm of the gradient without a graph; kernels are chosen and compiled meanwhile."""
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(2):
                torch._foreach_zero_(self._gradients)
                hidden = self._forward(**graph.row.inputs).last_hidden_state
                kept = hidden.detach().clone()
                hidden.backward(kept.clone())  # a fused layer may write into the gradient that it is given
            norm = _norm(self._gradients)
        torch.cuda.synchronize()
        del hidden
        torch.cuda.empty_cache()
        return kept, norm

    def _capture(self, graph: Graph) -> None:
        with torch.cuda.graph(graph.forward, pool=self._pool, capture_error_mode="thread_local"):
            hidden = self._forward(**graph.row.inputs).last_hidden_state
        graph.grad = torch.zeros_like(hidden)
        with torch.cuda.graph(graph.backward, pool=self._pool, capture_error_mode="thread_local"):
            hidden.backward(graph.grad)
        graph.hidden = hidden.detach()

    def _compare(self, graph: Graph, expected: Tensor, norm: Tensor) -> None:
        """See that the first graph does what was recorded.

        Raises:
            RuntimeError: it does not.
        """
        torch._foreach_zero_(self._gradients)
        graph.forward.replay()
        far = float((graph.hidden - expected).norm() / expected.norm())
        graph.grad.copy_(expected)
        graph.backward.replay()
        times = float(_norm(self._gradients) / norm)
        if not (far < DEVIATION and abs(times - 1) < DEVIATION):
            raise RuntimeError(f"its hidden states are off by {far:.2g}, its gradient is {times:.3g} times as long")


def _norm(tensors: list[Tensor]) -> Tensor:
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
