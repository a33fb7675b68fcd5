// The kernels that sum row gradients by row.
