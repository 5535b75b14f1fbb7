//! What a build really read, beside what it declares: build dependencies of which nothing was
//! read, and packages that were read although nothing declares them.
//!
//! Every package of a build root is there because the base, or something declared, needs it. So
//! "used without being declared" can only mean: used, and there because something else needs it.
//! Which program opened a file is not known. Where the package in between may have opened it for
//! itself, as a tool runs its own tools and a header includes others, that is said.

use std::collections::{BTreeMap, BTreeSet};

use crate::realise::trace::{Declared, Holds, Opened, Trace};

/// What a trace shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inputs {
    /// Declared, and nothing of it was read; in the order of the declaration.
    pub unused: Vec<Unused>,
    /// Read, and not declared; sorted by name.
    pub undeclared: Vec<Undeclared>,
}

/// A build dependency of which nothing was read: no file of the packages that satisfy it, and none
/// of those that are in the root only because of it. A package that holds nothing but what it
/// depends on so counts as used if any of that was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unused {
    /// As it is declared.
    pub dependency: String,
    /// Packages that it and others lead to, and of which files were read; each with the declared
    /// dependencies that were used and lead there. It may be that it was used through these.
    pub shared: BTreeMap<String, BTreeSet<String>>,
    /// Its links that lead to files that were read, by whatever name.
    pub links: BTreeSet<String>,
}

/// A package that is neither declared nor part of the base, and was used as something that one
/// declares: its programs, its modules, or what one compiles and links with. Shared libraries and
/// data are no such use, as programs load them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undeclared {
    /// Its name.
    pub package: String,
    /// Its version.
    pub version: String,
    /// What was read of it in that way, sorted.
    pub files: Vec<String>,
    /// The declared dependencies that it is there for.
    pub through: BTreeSet<String>,
    /// Whether the build itself used it.
    pub by: By,
}

/// Who used an undeclared package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum By {
    /// The build: nothing that leads to the package was used in the way it was.
    Itself,
    /// Perhaps only the packages that lead to it, which were used in the same way.
    Others,
}

/// What one declares a package for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Purpose {
    /// To compile and link with it.
    Develop,
    /// To run it.
    Run,
}

/// Says what a trace shows.
pub fn judge(trace: &Trace) -> Inputs {
    let root = Root::new(trace);
    Inputs { unused: root.unused(), undeclared: root.undeclared() }
}

/// The packages of a root beside the base, and what leads to what.
struct Root<'a> {
    trace: &'a Trace,
    packages: BTreeMap<&'a str, &'a Opened>,
    /// What each declared dependency leads to, in their order.
    led: Vec<BTreeSet<&'a str>>,
}

impl<'a> Root<'a> {
    fn new(trace: &'a Trace) -> Self {
        let beside = trace.packages.iter().filter(|package| !trace.base.contains(&package.name));
        let packages = beside.map(|package| (package.name.as_str(), package)).collect();
        let mut root = Self { trace, packages, led: Vec::new() };
        let led = trace.declared.iter().map(|one| root.closure(&one.packages));
        root.led = led.collect();
        root
    }

    /// These and all they need, beside the base.
    fn closure(&self, names: impl IntoIterator<Item = &'a String>) -> BTreeSet<&'a str> {
        let mut found = BTreeSet::new();
        let mut waiting: Vec<&str> = names.into_iter().map(String::as_str).collect();
        while let Some(name) = waiting.pop() {
            let Some(package) = self.packages.get(name) else { continue };
            if found.insert(name) {
                waiting.extend(package.needs.iter().map(String::as_str));
            }
        }
        found
    }

    fn unused(&self) -> Vec<Unused> {
        let declared = &self.trace.declared;
        // What every root has is there whether it is declared or not.
        let beside = |number: &usize| !self.led[*number].is_empty();
        let (mut used, rest): (Vec<usize>, Vec<usize>) =
            (0..declared.len()).filter(beside).partition(|number| {
                let others =
                    |name| (0..declared.len()).any(|one| one != *number && self.leads(one, name));
                let own = |name: &&str| declared[*number].packages.contains(*name);
                self.read_of(*number).any(|name| own(&name) || !others(name))
            });
        let mut unused = Vec::new();
        for number in rest {
            let others = |name: &str| -> BTreeSet<String> {
                let others = used.iter().filter(|other| self.leads(**other, name));
                others.map(|other| declared[*other].dependency.clone()).collect()
            };
            let shared: BTreeMap<String, BTreeSet<String>> =
                self.read_of(number).map(|name| (name.to_owned(), others(name))).collect();
            if shared.values().any(BTreeSet::is_empty) {
                used.push(number);
                continue;
            }
            let Declared { dependency, packages } = &declared[number];
            let own = packages.iter().filter_map(|name| self.packages.get(name.as_str()));
            let links = own.flat_map(|package| package.links.iter().cloned()).collect();
            unused.push(Unused { dependency: dependency.clone(), shared, links });
        }
        unused
    }

    fn leads(&self, declared: usize, name: &str) -> bool {
        self.led[declared].contains(name)
    }

    /// The packages that a declared dependency leads to and of which files were read.
    fn read_of(&self, declared: usize) -> impl Iterator<Item = &'a str> {
        let is_read =
            |name: &&str| self.packages.get(name).is_some_and(|one| !one.files.is_empty());
        self.led[declared].iter().copied().filter(is_read)
    }

    fn undeclared(&self) -> Vec<Undeclared> {
        let declared = self.declared();
        let is_declared = |name: &str| declared.contains(name);
        let read = self.packages.iter().filter(|(name, _)| !is_declared(name));
        let undeclared = read.filter_map(|(name, package)| {
            let used = purposes(package);
            let above = self.above(name);
            let by = used.keys().map(|purpose| {
                let same = above.iter().any(|one| uses(one).contains(purpose));
                if same { By::Others } else { By::Itself }
            });
            let through = self.trace.declared.iter().zip(&self.led);
            let through = through.filter(|(_, led)| led.contains(name));
            let mut files: Vec<String> =
                used.values().flatten().map(|&one| one.to_owned()).collect();
            files.sort();
            Some(Undeclared {
                by: by.min()?,
                package: package.name.clone(),
                version: package.version.clone(),
                files,
                through: through.map(|(declared, _)| declared.dependency.clone()).collect(),
            })
        });
        undeclared.collect()
    }

    /// What satisfies the declared dependencies. Who declares a package that holds nothing declares
    /// what it needs.
    fn declared(&self) -> BTreeSet<&'a str> {
        let mut found = BTreeSet::new();
        let satisfying = self.trace.declared.iter().flat_map(|one| &one.packages);
        let mut waiting: Vec<&str> = satisfying.map(String::as_str).collect();
        while let Some(name) = waiting.pop() {
            let package = self.packages.get(name);
            if found.insert(name)
                && let Some(package) = package.filter(|one| one.holds == Holds::Nothing)
            {
                waiting.extend(package.needs.iter().map(String::as_str));
            }
        }
        found
    }

    /// The packages that lead to this one.
    fn above(&self, name: &str) -> Vec<&'a Opened> {
        let leads =
            |package: &&Opened| package.name != name && self.closure(&package.needs).contains(name);
        self.packages.values().copied().filter(leads).collect()
    }
}

/// What was read of a package, by what one declares packages for.
fn purposes(package: &Opened) -> BTreeMap<Purpose, Vec<&str>> {
    let mut found: BTreeMap<Purpose, Vec<&str>> = BTreeMap::new();
    for file in &package.files {
        if let Some(purpose) = purpose(file) {
            found.entry(purpose).or_default().push(file);
        }
    }
    found
}

/// How a package may have been used: by its files that were read, or by its links that lead to
/// files that were.
fn uses(package: &Opened) -> BTreeSet<Purpose> {
    let files = package.files.iter().chain(&package.links);
    files.filter_map(|file| purpose(file)).collect()
}

/// What one declares a package for that has this file. Macros for aclocal say nothing: it reads
/// all there are, whatever is asked of it.
fn purpose(path: &str) -> Option<Purpose> {
    const PROGRAMS: [&str; 5] = ["/usr/bin/", "/usr/sbin/", "/bin/", "/sbin/", "/usr/games/"];
    const DEVELOP: [&str; 5] = [".pc", ".a", ".gir", ".vapi", ".cmake"];
    const MODULES: [&str; 5] = [".pm", ".pl", ".py", ".pyc", ".rb"];
    let ends = |ends: &[&str]| ends.iter().any(|end| path.ends_with(end));
    if PROGRAMS.iter().any(|folder| path.starts_with(folder)) || ends(&MODULES) {
        Some(Purpose::Run)
    } else if path.starts_with("/usr/include/") || ends(&DEVELOP) {
        Some(Purpose::Develop)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::realise::trace::Extent;

    /// A root: `name needs…: files…`, a package a line; names in capitals are the base's, files
    /// with an @ are links, and a package whose only file is `-` holds nothing.
    fn trace(declared: &[&str], packages: &str) -> Trace {
        let mut base = BTreeSet::new();
        let packages = packages.lines().map(str::trim).filter(|line| !line.is_empty());
        let packages = packages.map(|line| {
            let (head, files) = line.split_once(':').expect("a colon");
            let mut head = head.split_whitespace().map(str::to_owned);
            let name = head.next().expect("a name");
            if name.chars().all(|c| c.is_ascii_uppercase()) {
                base.insert(name.clone());
            }
            let (links, files): (Vec<&str>, Vec<&str>) =
                files.split_whitespace().partition(|file| file.starts_with('@'));
            Opened {
                name,
                version: "1".to_owned(),
                architecture: "all".to_owned(),
                needs: head.collect(),
                files: files
                    .iter()
                    .filter(|file| **file != "-")
                    .map(|&one| one.to_owned())
                    .collect(),
                holds: if files == ["-"] { Holds::Nothing } else { Holds::Something },
                links: links.into_iter().map(|link| link[1..].to_owned()).collect(),
            }
        });
        let packages = packages.collect();
        let declared = declared.iter().map(|dependency| Declared {
            dependency: (*dependency).to_owned(),
            packages: dependency.split(' ').take(1).map(str::to_owned).collect(),
        });
        let declared = declared.collect();
        Trace { extent: Extent::Whole, declared, base, packages, others: Vec::new() }
    }

    /// `unused: …` and `package through …`, with `?` where that may be others' doing.
    #[track_caller]
    fn check(declared: &[&str], packages: &str, wanted: &[&str]) {
        let Inputs { unused, undeclared } = judge(&trace(declared, packages));
        let unused = unused.into_iter().map(|Unused { dependency, shared, links }| {
            let shared = shared.into_keys().map(|name| format!(" shared {name}"));
            let links = links.into_iter().map(|link| format!(" link {link}"));
            format!("unused {dependency}{}", shared.chain(links).collect::<String>())
        });
        let undeclared = undeclared.into_iter().map(|one| {
            let Undeclared { package, through, by, files, version: _ } = one;
            let through: Vec<String> = through.into_iter().collect();
            let sign = if by == By::Others { "?" } else { "" };
            format!("{package}{sign} through {}: {}", through.join(", "), files.join(" "))
        });
        let found: Vec<String> = unused.chain(undeclared).collect();
        assert_eq!(found, wanted, "{packages}");
    }

    #[test]
    fn a_dependency_is_unused_if_nothing_that_only_it_brings_was_read() {
        check(&["bc (>= 1)"], "bc libc: \n libc: \n LIBC: /lib/libc.so", &["unused bc (>= 1)"]);
        check(&["bc"], "bc libc: /usr/share/bc \n libc:", &[]);
        // A package that holds nothing itself.
        check(&["all"], "all one two: \n one: \n two: /usr/share/two", &[]);
        check(&["all"], "all one: \n one deep: \n deep: /usr/share/deep", &[]);
        // What needs itself in a circle.
        check(&["one"], "one two: \n two one:", &["unused one"]);
        // What every root has.
        check(&["GCC", "gone"], "GCC:", &[]);
    }

    #[test]
    fn what_another_dependency_brings_as_well_is_told_and_is_no_use() {
        check(
            &["python", "meson"],
            "python core: \n meson core: /usr/share/meson \n core: /usr/share/core",
            &["unused python shared core"],
        );
        check(
            &["one", "two"],
            "one core: \n two core: \n core: /usr/share/core",
            &["unused two shared core"],
        );
        check(
            &["z-dev", "tool"],
            "z-dev z: @/usr/lib/libz.so \n tool z: /usr/bin/tool \n z: /usr/lib/libz.so.1",
            &["unused z-dev shared z link /usr/lib/libz.so"],
        );
    }

    #[test]
    fn what_is_used_and_only_there_for_another_is_undeclared() {
        let png = "png-dev z-dev: \n z-dev z: /usr/include/zlib.h \n z: /usr/lib/libz.so.1";
        check(&["png-dev"], png, &["z-dev through png-dev: /usr/include/zlib.h"]);
        check(&["png-dev", "z-dev"], png, &["unused png-dev shared z shared z-dev"]);
        // Its own headers may include those.
        check(
            &["png-dev"],
            "png-dev z-dev: /usr/include/png.h \n z-dev: /usr/include/zlib.h",
            &["z-dev? through png-dev: /usr/include/zlib.h"],
        );
        // It is called by another's link; or nobody could have declared it for anything else.
        check(
            &["tk"],
            "tk tk8: @/usr/bin/wish \n tk8: /usr/bin/wish8",
            &["tk8? through tk: /usr/bin/wish8"],
        );
        check(
            &["all"],
            "all more: - \n more tool: - \n tool x: /usr/bin/tool \n x: /usr/include/x.h",
            &["x through all: /usr/include/x.h"],
        );
        // A tool runs its tools; it includes no headers.
        check(
            &["dh"],
            "dh mid: /usr/bin/dh \n mid m4: \n m4 x: /usr/bin/m4 \n x: /usr/include/x.h",
            &["m4? through dh: /usr/bin/m4", "x through dh: /usr/include/x.h"],
        );
    }

    #[test]
    fn libraries_and_data_and_what_aclocal_looks_through_are_no_use_of_their_own() {
        check(
            &["tool"],
            "tool lib: /usr/bin/tool
             lib: /usr/lib/liblib.so.1 /usr/share/lib/data /usr/share/aclocal/lib.m4 /etc/lib.conf",
            &[],
        );
        check(
            &["tool"],
            "tool BASH lib: /usr/share/tool\n BASH: /usr/bin/bash\n lib: /usr/lib/pkgconfig/a.pc",
            &["lib through tool: /usr/lib/pkgconfig/a.pc"],
        );
    }
}
