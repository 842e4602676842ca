"""Times warpnorm beside the norms of other libraries, in one run on the same buffers.

    python3 benches/peers --json results/bench/peers-GPU.json

- `ops`: the ops: which tensors each has, and its byte floor.
- `formulas`: what they compute, in f64. Every result is held against that before it is timed.
- `registry`: the peers, and how each is called. One that cannot be imported is reported with the reason. Nothing is
  launched programmatically but what ends in `-pdl`, in pairs of a peer and warpnorm: their times are for one another.
- `compositions`: the ops as PyTorch's own functions.
- `buffers`: tensors for them.
- `timing`: samples, their median and spread; the same protocol as `warpnorm bench`, and no GPU in it.
- `gpu`: captured graphs between events, on rotating buffers; and what a peer that fails leaves behind.
- `abi`: the C library, whose structures are read from its header.
- `report`: the schema `warpnorm-bench/1`, which `warpnorm report` renders.

A peer that cannot be captured in a graph is dropped with the reason. Where torch is in no order after that, the run
ends with what it has timed, and is to be started again with `--exclude`.

Where there is no torch or no GPU, the report has no time, says so, and lists what is missing; the exit code is 0.
"""
