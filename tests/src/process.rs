//! What Linux says of the process.

/// Most memory that the process has held, in KiB.
pub fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux has a status of each process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the status has VmHWM");
    let number = line.split_whitespace().next().expect("VmHWM has a value");
    number.parse().expect("VmHWM is a number of KiB")
}
