//! Processor, memory, and programs beside din, as Linux describes them in `/proc` and `/sys`.

use super::{Checkup, Health};
use din_program::Isa;
use din_runtime::cpu;
use din_runtime::placement::shown_bytes;
use din_runtime::session::CpuOptions;
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

pub(super) fn processor() -> Checkup {
    let name = value_of("/proc/cpuinfo", "model name").unwrap_or_else(|| std::env::consts::ARCH.into());
    let threads = CpuOptions::default().thread_count();
    let all = processors().unwrap_or_default();
    let cores = match cores(&all) {
        Some(1) => "1 core, ".into(),
        Some(cores) => format!("{cores} cores, "),
        None => String::new(),
    };
    let found = format!("{name}: {cores}{threads} hardware thread{}", if threads == 1 { "" } else { "s" });
    if threads < all.len() {
        return Checkup::poor(
            "processor",
            Health::Limited,
            format!("{found} of {}", all.len()),
            format!("din starts {threads} threads: a control group limits what this process may use"),
            "raise the limit of the container or job",
        );
    }
    Checkup {
        effect: Some(format!("din starts {threads} threads; --threads N another number")),
        ..Checkup::good("processor", found)
    }
}

/// The hardware threads that this process may run on.
fn processors() -> Option<Vec<u32>> {
    numbers(&value_of("/proc/self/status", "Cpus_allowed_list")?)
}

/// How many cores they belong to.
fn cores(threads: &[u32]) -> Option<usize> {
    let siblings = |thread: &u32| {
        fs::read_to_string(format!("/sys/devices/system/cpu/cpu{thread}/topology/thread_siblings_list")).ok()
    };
    let cores: Option<BTreeSet<String>> = threads.iter().map(siblings).collect();
    cores.map(|cores| cores.len()).filter(|&cores| cores > 0)
}

/// `0-3,8` as the kernel writes a set of numbers.
fn numbers(list: &str) -> Option<Vec<u32>> {
    let mut all = Vec::new();
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        all.extend(first.trim().parse::<u32>().ok()?..=last.trim().parse().ok()?);
    }
    Some(all)
}

pub(super) fn isa() -> Checkup {
    let found = cpu::detect();
    if !cpu::runs(Isa::V2) {
        return Checkup::poor(
            "code",
            Health::Broken,
            format!("{} without the instructions of x86-64-v2", std::env::consts::ARCH),
            "no program of din runs on this processor",
            "use a processor of 2009 or later, or set the virtual machine's processor type to `host`",
        );
    }
    let level = cpu::level(found);
    let vectors = match found {
        Isa::V2 => "SSE4.2",
        Isa::V3 => "AVX2",
        Isa::V4 => "AVX-512",
    };
    let checkup = Checkup::good("code", format!("x86-64-v{level} ({vectors})"));
    let chosen = format!("din runs its code for v{level}");
    match found {
        Isa::V2 => Checkup {
            health: Health::Limited,
            effect: Some(format!("{chosen}, several times slower than that for v3")),
            help: Some("use a processor with AVX2; in a virtual machine set the processor type to `host`".into()),
            ..checkup
        },
        Isa::V3 => Checkup { effect: Some(format!("{chosen}; its bits differ from those of v4")), ..checkup },
        Isa::V4 => {
            let portable = "--isa v3 gives the bits of processors without AVX-512";
            Checkup { effect: Some(format!("{chosen}; {portable}")), ..checkup }
        }
    }
}

pub(super) fn memory() -> Checkup {
    let kibibytes = |name: &str| -> Option<f64> {
        let value = value_of("/proc/meminfo", name)?;
        Some(1024.0 * value.strip_suffix(" kB")?.trim().parse::<f64>().ok()?)
    };
    let (Some(total), Some(available)) = (kibibytes("MemTotal"), kibibytes("MemAvailable")) else {
        return Checkup::poor(
            "memory",
            Health::Limited,
            "unknown: /proc/meminfo cannot be read",
            "nothing here can say how far tables may grow",
            "mount /proc",
        );
    };
    let found = format!("{} available of {}", shown_bytes(available), shown_bytes(total));
    let limit = memory_limit().filter(|&limit| limit < total);
    if let Some(limit) = limit {
        let help = "raise the limit of the container or job";
        let effect = "tables and batches together must stay below the limit, or the system ends the process";
        return Checkup::poor(
            "memory",
            Health::Limited,
            format!("{found}, limited to {}", shown_bytes(limit)),
            effect,
            help,
        );
    }
    // Tables reserve address space ahead of what they use.
    if fs::read_to_string("/proc/sys/vm/overcommit_memory").is_ok_and(|text| text.trim() == "2") {
        let effect = "memory that tables reserve counts as used: they may grow to half of it only";
        let help = "sysctl vm.overcommit_memory=0";
        return Checkup::poor("memory", Health::Limited, format!("{found}, without overcommit"), effect, help);
    }
    Checkup::good("memory", found)
}

/// The limit of the control group of this process, of either version.
fn memory_limit() -> Option<f64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let files = groups.lines().filter_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        match controllers {
            "" => Some(format!("/sys/fs/cgroup{path}/memory.max")),
            _ if controllers.split(',').any(|c| c == "memory") => {
                Some(format!("/sys/fs/cgroup/memory{path}/memory.limit_in_bytes"))
            }
            _ => None,
        }
    });
    // In a container the group is mounted as the root.
    let mounted = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"].map(String::from);
    let limits = files.chain(mounted).filter_map(|file| fs::read_to_string(file).ok()?.trim().parse::<f64>().ok());
    limits.reduce(f64::min)
}

pub(super) fn huge_pages() -> Checkup {
    let name = "huge pages";
    let path = "/sys/kernel/mm/transparent_hugepage/enabled";
    let slower = "lookups in tables of gigabytes are slower";
    let Ok(text) = fs::read_to_string(path) else {
        return Checkup::poor(
            name,
            Health::Limited,
            "this kernel has none",
            slower,
            "use a kernel with transparent huge pages",
        );
    };
    // The one that holds is in brackets.
    let mode = text.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map_or("unknown", |(mode, _)| mode);
    match mode {
        "always" | "madvise" => Checkup::good(name, format!("transparent huge pages: {mode}")),
        mode => {
            let found = format!("transparent huge pages: {mode}");
            Checkup::poor(name, Health::Limited, found, slower, format!("as root: echo madvise > {path}"))
        }
    }
}

pub(super) fn git() -> Checkup {
    match program("git") {
        Some(path) => Checkup::good("git", path.display().to_string()),
        None => {
            let effect = "`din diff main:model.din model.din` cannot read revisions";
            Checkup::poor("git", Health::Absent, "not on PATH", effect, "install git")
        }
    }
}

/// Where a program is on `PATH`.
pub(super) fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// What follows `name:` on a line of its own.
fn value_of(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let value = text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_string())
    });
    value.filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::numbers;

    #[test]
    fn sets_of_numbers_of_the_kernel() {
        assert_eq!(numbers("0-3,8"), Some(vec![0, 1, 2, 3, 8]));
        assert_eq!(numbers("5"), Some(vec![5]));
        assert_eq!(numbers("a-b"), None);
    }
}
