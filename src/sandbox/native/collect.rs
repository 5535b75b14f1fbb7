//! Bringing files out of a guest whose processes are all gone.
//!
//! The sandbox opens them, as only it sees the guest's mounts; the calling program copies them,
//! as only it may write where they go.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Dir, FileType, Mode, OFlags, ResolveFlags};

use super::wire::{self, Explain, Order, Report, Tried};

/// Offers every file that the order asks for, in the order of their names.
///
/// A folder that is not there, or is no folder, holds nothing. Only plain files are opened, no
/// link is followed, and anything else is passed over.
pub fn offer(order: &Order, control: &OwnedFd) -> Tried<()> {
    let Some((from, patterns)) = &order.collect else { return Ok(()) };
    let operation = || format!("collect from `{from}`");
    let safe = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = match rustix::fs::openat2(CWD, from.as_str(), flags, Mode::empty(), safe) {
        Ok(folder) => folder,
        Err(_) => return Ok(()),
    };
    let mut names = Vec::new();
    for entry in Dir::read_from(&folder).trying(operation)? {
        let entry = entry.trying(operation)?;
        let Ok(name) = entry.file_name().to_str() else { continue };
        if patterns.iter().any(|pattern| matches(pattern, name)) {
            names.push(name.to_owned());
        }
    }
    names.sort();
    for name in names {
        // Not waiting, as opening a pipe would.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let Ok(file) = rustix::fs::openat(&folder, &*name, flags, Mode::empty()) else {
            continue;
        };
        let status = rustix::fs::fstat(&file).trying(operation)?;
        if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile {
            continue;
        }
        let report = Report::File { name };
        wire::send(control, &report, Some(file.as_fd())).trying(operation)?;
        let mut answer = [0];
        rustix::io::retry_on_intr(|| rustix::io::read(control, &mut answer)).trying(operation)?;
        if answer != [wire::NEXT] {
            break;
        }
    }
    Ok(())
}

/// Copies an offered file to `to`, which must not exist, and returns how many bytes that were.
/// None if it has more than `most`: a file can claim any size without holding it.
pub fn take(offered: OwnedFd, to: &Path, most: u64) -> io::Result<Option<u64>> {
    let offered = File::from(offered);
    if offered.metadata()?.len() > most {
        return Ok(None);
    }
    // Everybody who could make it longer is gone; what comes from afar has no length beforehand.
    let copied = io::copy(&mut offered.take(most.saturating_add(1)), &mut File::create_new(to)?)?;
    if copied > most {
        std::fs::remove_file(to)?;
        return Ok(None);
    }
    Ok(Some(copied))
}

/// Whether a name fits a pattern of `*` (anything) and `?` (one character). As in the shell, a
/// leading dot must be written out.
fn matches(pattern: &str, name: &str) -> bool {
    if name.starts_with('.') && !pattern.starts_with('.') {
        return false;
    }
    let (pattern, name): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), name.chars().collect());
    // Where the last star stood, and how far it has swallowed.
    let mut star = None;
    let (mut at, mut next) = (0, 0);
    while next < name.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, next));
                at += 1;
            }
            Some(&c) if c == '?' || c == name[next] => {
                at += 1;
                next += 1;
            }
            _ => match star {
                Some((place, swallowed)) => {
                    star = Some((place, swallowed + 1));
                    at = place + 1;
                    next = swallowed + 1;
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_mean_what_they_mean_in_the_shell() {
        for (pattern, name) in [
            ("*.deb", "a_1.0_amd64.deb"),
            ("*", "x"),
            ("a?c*", "abc"),
            ("*a*b", "xaayab"),
            (".*", ".hidden"),
            ("", ""),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in
            [("*.deb", "a.udeb2"), ("*", ".hidden"), ("?", ""), ("a", "ab"), ("*ab", "abc")]
        {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }
}
