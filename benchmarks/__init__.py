"""Side by side with PyTorch: both do the same work in one process, checked to agree, then timed in turns.

    cases.py       what is measured: a name, and how
    workloads.py   networks, batch and settings of a whole step
    steps.py       whole steps;  torch_step.py Algorithm 1 in PyTorch;  pieces.py parts of a step;  users.py training
    summary.py     one table of the figures of several calls
    agreement.py   whether both sides compute the same;  measure.py their times;  memory.py their peak memory
    report.py      the table

PyTorch has the networks of minicoulomb.verify.to_torch. Only the files that compute with PyTorch import it, and these
are imported when a case runs.
"""
