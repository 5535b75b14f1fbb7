//! Architecture names, wildcards and lists (Debian Policy 11.1; dpkg's own tables say which
//! ABI, C library, kernel and processor a name stands for).

use super::ArchitectureTerm;
use crate::base::Architecture;

/// ABI, C library, kernel, processor.
type Tuple<'a> = [&'a str; 4];

/// Whether the architecture `name` is what `wanted` says: a name (`amd64`), or a wildcard
/// (`any`, `linux-any`, `any-arm`, `gnu-any-any`). `all` is nothing but `all`.
pub fn matches(name: &str, wanted: &str) -> bool {
    // `linux-amd64` is an old way to say `amd64`.
    if name == wanted || wanted.strip_prefix("linux-") == Some(name) {
        return true;
    }
    if name == "all" || !wanted.split('-').any(|part| part == "any") {
        return false;
    }
    let (Some(name), Some(wanted)) = (tuple(name), wildcard(wanted)) else {
        return wanted == "any";
    };
    name.iter().zip(wanted).all(|(name, wanted)| wanted == "any" || *name == wanted)
}

/// Whether a list holds for `architecture`. The first term that names it decides; a list in which
/// none does holds if a negated term stands in it (`[!amd64]` is everywhere but amd64).
pub(super) fn concerns(list: &[ArchitectureTerm], architecture: &Architecture) -> bool {
    match list.iter().find(|term| matches(architecture.as_str(), &term.name)) {
        Some(term) => !term.negated,
        None => list.iter().any(|term| term.negated),
    }
}

fn wildcard(text: &str) -> Option<Tuple<'_>> {
    let parts: Vec<&str> = text.splitn(5, '-').collect();
    match *parts {
        ["any"] => Some(["any"; 4]),
        [kernel, processor] => Some(["any", "any", kernel, processor]),
        [library, kernel, processor] => Some(["any", library, kernel, processor]),
        [abi, library, kernel, processor] => Some([abi, library, kernel, processor]),
        _ => None,
    }
}

fn tuple(name: &str) -> Option<Tuple<'_>> {
    let special = match name {
        "armhf" => ["eabihf", "gnu", "linux", "arm"],
        "armel" => ["eabi", "gnu", "linux", "arm"],
        "arm64ilp32" => ["ilp32", "gnu", "linux", "arm64"],
        "mipsn32" => ["abin32", "gnu", "linux", "mips64"],
        "mipsn32el" => ["abin32", "gnu", "linux", "mips64el"],
        "mipsn32r6" => ["abin32", "gnu", "linux", "mips64r6"],
        "mipsn32r6el" => ["abin32", "gnu", "linux", "mips64r6el"],
        "mips64" | "mips64el" | "mips64r6" | "mips64r6el" => ["abi64", "gnu", "linux", name],
        "powerpcspe" => ["spe", "gnu", "linux", "powerpc"],
        "x32" => ["x32", "gnu", "linux", "amd64"],
        "uclibc-linux-armel" => ["eabi", "uclibc", "linux", "arm"],
        "musl-linux-armhf" => ["eabihf", "musl", "linux", "arm"],
        "kfreebsd-armhf" => ["eabihf", "gnu", "kfreebsd", "arm"],
        "uclinux-armel" => ["eabi", "uclibc", "uclinux", "arm"],
        "mint-m68k" => ["base", "tos", "mint", "m68k"],
        _ => {
            let (system, processor) = name.rsplit_once('-').unwrap_or(("", name));
            let (library, kernel) = match system {
                "" => ("gnu", "linux"),
                "uclibc-linux" => ("uclibc", "linux"),
                "musl-linux" => ("musl", "linux"),
                "kfreebsd" | "knetbsd" | "kopensolaris" | "hurd" => ("gnu", system),
                "darwin" | "dragonflybsd" | "freebsd" | "netbsd" | "openbsd" => ("bsd", system),
                "aix" | "solaris" => ("sysv", system),
                "uclinux" => ("uclibc", system),
                _ => return None,
            };
            ["base", library, kernel, processor]
        }
    };
    Some(special)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::deb::dependency::Dependencies;

    #[test]
    fn wildcards_match_what_they_name() {
        for (name, wanted) in [
            ("amd64", "amd64"),
            ("amd64", "any"),
            ("amd64", "linux-any"),
            ("amd64", "any-amd64"),
            ("x32", "any-amd64"),
            ("armhf", "any-arm"),
            ("hurd-i386", "gnu-any-any"),
            ("musl-linux-armhf", "eabihf-musl-any-any"),
            ("all", "all"),
        ] {
            assert!(matches(name, wanted), "{name} {wanted}");
        }
        for (name, wanted) in [
            ("amd64", "i386"),
            ("amd64", "hurd-any"),
            ("amd64", "any-i386"),
            ("arm64", "any-arm"),
            ("amd64", "any-any-any-any-any"),
            ("all", "any"),
            ("all", "linux-any"),
        ] {
            assert!(!matches(name, wanted), "{name} {wanted}");
        }
    }

    #[test]
    fn the_first_term_that_names_it_decides() {
        let amd64 = "amd64".parse().unwrap();
        let holds = |text: &str| {
            let read: Dependencies = format!("foo {text}").parse().unwrap();
            concerns(&read.0[0].0[0].architectures, &amd64)
        };
        for text in ["[amd64]", "[i386 amd64]", "[!i386]", "[linux-any !amd64]", "[any]"] {
            assert!(holds(text), "{text}");
        }
        for text in ["[i386]", "[!amd64]", "[!amd64 linux-any]", "[!linux-any !i386]"] {
            assert!(!holds(text), "{text}");
        }
    }
}
