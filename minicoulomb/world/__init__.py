"""Several processes that train one model: data parallel, by MPI and NCCL.

    launch.py        notices an MPI launcher, and joins its world
    processes.py     World: sums over processes, and orders from process 0 to the others
    steps.py         a step of Algorithm 1 on each process's share of the batch
    batch_norm.py    batch normalization by the statistics of the whole batch
    nccl.py          sums between GPUs

Process 0 is the program: it parses, reads, writes and prints. The others follow its orders (`World.order`), so
all that is not shared work is as in a single process. Without a launcher, nothing of this room is imported but
launch.py, which looks at environment variables.
"""
