//! What this machine has to give to builds.

use std::num::NonZeroUsize;

use crate::base::Architecture;
use crate::sandbox::native;

/// What the machine gives to one build, where its spec does not say.
#[derive(Debug, Clone)]
pub struct Allowance {
    /// Bytes of memory of the machine.
    pub machine_memory: u64,
    /// Bytes of memory of one build, its scratch in memory included.
    pub memory: u64,
    /// Processors a build may use, by number.
    pub cores: Vec<u32>,
}

impl Allowance {
    /// A fair share of nine tenths of this machine's memory for each of `jobs` builds, and these
    /// processors.
    pub fn of_machine(cores: Vec<u32>, jobs: NonZeroUsize) -> Self {
        let system = rustix::system::sysinfo();
        let machine_memory = system.totalram.saturating_mul(system.mem_unit.into());
        let jobs = u64::try_from(jobs.get()).unwrap_or(u64::MAX);
        Self { machine_memory, memory: machine_memory / 10 * 9 / jobs, cores }
    }
}

/// Whether programs of `architecture`, as the distribution calls it, run on this machine.
pub fn runs(architecture: &Architecture) -> bool {
    let own = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "riscv64" => "riscv64",
        other => other,
    };
    let second = architecture.as_str() == "i386" && own == "amd64" && native::runs_i386();
    architecture.as_str() == own || second
}

/// Bytes of memory that programs could take now without anything being swapped out (`MemAvailable`
/// of proc_meminfo(5)); where that is not told, what is free.
pub fn available_memory() -> u64 {
    let told = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| available(&text));
    told.unwrap_or_else(|| {
        let system = rustix::system::sysinfo();
        system.freeram.saturating_mul(system.mem_unit.into())
    })
}

/// How many processes this machine's kernel has killed for want of memory since it started
/// (`oom_kill` of proc_vmstat(5)); 0 where it does not tell.
pub fn oom_kills() -> u64 {
    let text = std::fs::read_to_string("/proc/vmstat").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
    line.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}

fn available(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

/// The processors this process may run on, by number.
pub fn processors() -> Vec<u32> {
    let allowed = rustix::thread::sched_getaffinity(None);
    let numbers = |set: rustix::thread::CpuSet| {
        (0..rustix::thread::CpuSet::MAX_CPU)
            .filter(|number| set.is_set(*number))
            .filter_map(|number| u32::try_from(number).ok())
            .collect()
    };
    // A kernel that does not tell has at least one.
    allowed.map_or_else(|_| vec![0], numbers)
}

#[cfg(test)]
mod tests {
    use super::available;

    #[test]
    fn available_memory_is_read_in_bytes() {
        let text = "MemTotal:  100 kB\nMemFree:  10 kB\nMemAvailable:      42 kB\n";
        assert_eq!(available(text), Some(42 << 10));
        assert_eq!(available("MemTotal:  100 kB\n"), None);
        assert_eq!(available("MemAvailable: 99999999999999999999 kB\n"), None);
    }
}
