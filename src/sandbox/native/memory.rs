//! The memory of a guest, added up without a control group.
//!
//! `/proc` here is the guest's own, as the sandbox shares its mounts, and shows its processes
//! and no others. What counts is what no file backs: the kernel can drop the rest by itself.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;

/// A cheap figure that is never too small but for files in memory that nobody maps: pages that
/// several processes share count for each of them.
pub fn at_most() -> u64 {
    processes()
        .filter_map(|process| fs::read_to_string(format!("/proc/{process}/status")).ok())
        .map(|text| fields(&text, &["RssAnon:", "RssShmem:", "VmSwap:"]))
        .sum()
}

/// What it is for certain: each page counts once, over the processes that share it.
pub fn exactly() -> u64 {
    processes()
        .map(|process| {
            let read = |file| fs::read_to_string(format!("/proc/{process}/{file}"));
            let rollup = read("smaps_rollup").unwrap_or_default();
            let mapped = read("smaps").map_or(0, |text| nameless(&text));
            fields(&rollup, &["Pss_Anon:", "SwapPss:"]) + mapped
        })
        .sum()
}

/// Files in memory that have a descriptor but lie in no folder. They are in no process's count
/// unless it maps them.
pub fn held() -> u64 {
    let mut seen = BTreeSet::new();
    let mut bytes = 0;
    for process in processes() {
        let Ok(descriptors) = fs::read_dir(format!("/proc/{process}/fd")) else { continue };
        for path in descriptors.flatten().map(|entry| entry.path()) {
            let in_memory = fs::read_link(&path)
                .is_ok_and(|target| target.as_os_str().as_encoded_bytes().starts_with(b"/memfd:"));
            let Some(file) = in_memory.then(|| fs::metadata(&path).ok()).flatten() else {
                continue;
            };
            if seen.insert((file.dev(), file.ino())) {
                bytes += file.blocks() * 512;
            }
        }
    }
    bytes
}

fn processes() -> impl Iterator<Item = String> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The sum of these lines, which are in KiB, in bytes.
fn fields(text: &str, names: &[&str]) -> u64 {
    text.lines().filter(|line| names.iter().any(|name| line.starts_with(name))).map(size).sum()
}

fn size(line: &str) -> u64 {
    line.split_whitespace().nth(1).and_then(|word| word.parse().ok()).unwrap_or(0) << 10
}

/// Shared memory that lies on no file system of the guest: what lies on scratch counts there.
/// The text is that of `smaps`: a line per mapping that ends with its name, lines of figures
/// below it.
fn nameless(text: &str) -> u64 {
    const NAMES: [&str; 3] = ["/memfd:", "/dev/zero", "/SYSV"];
    let mut counts = false;
    let mut bytes = 0;
    for line in text.lines() {
        let mapping = line.split(' ').next().is_some_and(|range| range.contains('-'));
        if mapping {
            let name = line.splitn(6, ' ').nth(5).unwrap_or_default().trim_start();
            counts = NAMES.iter().any(|prefix| name.starts_with(prefix));
        } else if counts && line.starts_with("Pss:") {
            bytes += size(line);
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::{fields, nameless};

    #[test]
    fn only_shared_memory_without_a_place_counts() {
        let text = "\
7f00-7f01 rw-s 00000000 00:01 33   /memfd:x (deleted)
Rss:     8 kB
Pss:     4 kB
Pss_Dirty:     4 kB
7f02-7f03 rw-s 00000000 00:30 34   /build/mapped file
Pss:     16 kB
7f04-7f05 rw-p 00000000 00:00 0 
Pss:     32 kB
7f06-7f07 rw-s 00000000 00:01 35   /dev/zero (deleted)
Pss:     64 kB
";
        assert_eq!(nameless(text), (4 + 64) << 10);
    }

    #[test]
    fn figures_are_in_kibibytes() {
        assert_eq!(
            fields("RssAnon:\t  12 kB\nRssFile: 7 kB\nVmSwap: 1 kB\n", &["RssAnon:", "VmSwap:"]),
            13 << 10
        );
    }
}
