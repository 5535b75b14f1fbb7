//! Which package each file of a build root came with, as the root's own dpkg database says.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::database::{Database, Installed};
use super::error::Error;
use super::place::{MERGED, MOST_LINKS};
use crate::base::HostPath;

/// Where packages have what is only about them.
const PAPERS: [&str; 4] =
    ["usr/share/doc/", "usr/share/man/", "usr/share/lintian/", "usr/share/bug/"];

/// The packages of a root's files.
pub struct Owners {
    layers: Vec<HostPath>,
    database: Database,
    /// Top folders that are links here, with their targets.
    merged: Vec<(&'static str, &'static str)>,
}

impl Owners {
    /// Those of the root that `layers` make up, the lowest first.
    pub fn read(layers: &[HostPath]) -> Result<Self, Error> {
        let is_merged = |(name, target): &(&str, &str)| {
            layers.iter().any(|layer| {
                let link = fs::read_link(layer.join(name));
                link.is_ok_and(|link| link == Path::new(target))
            })
        };
        Ok(Self {
            layers: layers.to_vec(),
            database: Database::read(layers)?,
            merged: MERGED.into_iter().filter(is_merged).collect(),
        })
    }

    /// The packages that the file at this place came with; several where they share it, none if it
    /// was made when packages were configured. What Python compiled then is its source's.
    pub fn of(&self, path: &str) -> BTreeSet<&str> {
        let path = path.trim_start_matches('/');
        let found = self.shipped(path);
        match compiled_from(path) {
            Some(source) if found.is_empty() => self.shipped(&source),
            _ => found,
        }
    }

    fn shipped(&self, path: &str) -> BTreeSet<&str> {
        // Packages may have it under a folder that a link merged into `/usr`.
        let other = self.merged.iter().find_map(|(name, target)| {
            Some(format!("{name}/{}", path.strip_prefix(target)?.strip_prefix('/')?))
        });
        [Some(path), other.as_deref()]
            .into_iter()
            .flatten()
            .flat_map(|path| self.database.owners_at(path))
            .map(|package: &Installed| package.name.as_str())
            .collect()
    }

    /// Of each of these packages the links that lead to a file for which `is_wanted` holds, by
    /// guest path.
    pub fn links(
        &self,
        packages: &BTreeSet<&str>,
        is_wanted: impl Fn(&str) -> bool,
    ) -> BTreeMap<&str, BTreeSet<String>> {
        let mut found: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        for (path, package) in self.database.paths() {
            let name = package.name.as_str();
            if !packages.contains(name) {
                continue;
            }
            let target = self.target(path);
            if target.is_some_and(|target| is_wanted(&format!("/{target}"))) {
                found.entry(name).or_default().insert(format!("/{path}"));
            }
        }
        found
    }

    /// Those of these packages that hold nothing but folders and documentation: they are there for
    /// what they need.
    pub fn hollow<'a>(&self, packages: &BTreeSet<&'a str>) -> BTreeSet<&'a str> {
        let mut hollow = packages.clone();
        for (path, package) in self.database.paths() {
            let name = package.name.as_str();
            if !hollow.contains(name) || PAPERS.iter().any(|folder| path.starts_with(folder)) {
                continue;
            }
            let place = self.unmerged(path.to_owned());
            let status = self
                .layers
                .iter()
                .rev()
                .find_map(|layer| fs::symlink_metadata(layer.join(&place)).ok());
            if status.is_some_and(|status| !status.is_dir()) {
                hollow.remove(name);
            }
        }
        hollow
    }

    /// Where the link at this path leads in the end; nothing if there is none.
    fn target(&self, path: &str) -> Option<String> {
        let mut at = self.unmerged(path.to_owned());
        for step in 0..MOST_LINKS {
            let there = self.layers.iter().rev().find_map(|layer| {
                let place = layer.join(&at);
                let status = fs::symlink_metadata(&place).ok()?;
                Some(status.is_symlink().then(|| fs::read_link(&place).ok()).flatten())
            })?;
            let Some(link) = there else { return (step > 0).then_some(at) };
            let link = link.to_str()?;
            let folder = at.rsplit_once('/').map_or("", |(folder, _)| folder);
            let whole = if link.starts_with('/') { link } else { &format!("{folder}/{link}") };
            at = self.unmerged(plain(whole));
        }
        None
    }

    /// The path with its top folder as it really is.
    fn unmerged(&self, path: String) -> String {
        let found = self.merged.iter().find_map(|(name, target)| {
            let rest = path.strip_prefix(name)?.strip_prefix('/')?;
            Some(format!("{target}/{rest}"))
        });
        found.unwrap_or(path)
    }
}

/// A path without `.` and `..`, which never leads above the root.
fn plain(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// The source of a file that Python compiled when packages were configured (PEP 3147).
fn compiled_from(path: &str) -> Option<String> {
    let (folder, name) = path.rsplit_once("/__pycache__/")?;
    let (module, _) = name.strip_suffix(".pyc")?.split_once('.')?;
    Some(format!("{folder}/{module}.py"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    const DIVERSIONS: &str = "/usr/bin/tool\n/usr/bin/tool.real\nwrapper\n";

    /// A root of two layers in this folder: packages `base` below, `extra` and others above.
    fn root(folder: &Path) -> Vec<HostPath> {
        let (below, above) = (folder.join("below"), folder.join("above"));
        let status = |names: &[&str]| -> String {
            let text = |name| format!("Package: {name}\nVersion: 1\nArchitecture: amd64\n\n");
            names.iter().map(text).collect()
        };
        let put = |layer: &Path, name: &str, text: &str| {
            let path = layer.join(name);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            fs::write(path, text).expect("a file");
        };
        fs::create_dir_all(below.join("usr/lib")).expect("a folder");
        symlink("usr/lib", below.join("lib")).expect("a link");
        put(&below, "usr/lib/libone.so.1.2", "");
        symlink("libone.so.1.2", below.join("usr/lib/libone.so.1")).expect("a link");
        put(&below, "var/lib/dpkg/status", &status(&["base"]));
        put(
            &below,
            "var/lib/dpkg/info/base.list",
            "/.\n/lib\n/lib/libone.so.1\n/lib/libone.so.1.2\n/usr/bin/tool\n",
        );
        fs::create_dir_all(above.join("usr/lib")).expect("a folder");
        symlink("/lib/libone.so.1", above.join("usr/lib/libone.so")).expect("a link");
        symlink("../../../../etc/none", above.join("usr/lib/out.so")).expect("a link");
        symlink("loop", above.join("usr/lib/loop")).expect("a link");
        let names = ["base", "extra", "wrapper", "python3-one", "all"];
        put(&above, "var/lib/dpkg/status", &status(&names));
        put(&above, "var/lib/dpkg/diversions", DIVERSIONS);
        let lists = [
            ("extra:amd64", "/usr/lib/libone.so\n/usr/lib/out.so\n/usr/lib/loop\n/usr/share/a\n"),
            ("wrapper", "/usr/bin/tool\n/usr/share/a\n"),
            ("python3-one", "/usr/lib/python3/dist-packages/one.py\n"),
            ("all", "/.\n/usr\n/usr/lib\n/usr/share/doc/all/copyright\n"),
        ];
        for (name, list) in lists {
            put(&above, &format!("var/lib/dpkg/info/{name}.list"), list);
        }
        [below, above].map(HostPath::new).into()
    }

    #[test]
    fn a_file_belongs_to_the_package_that_has_it_under_whatever_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let owners = Owners::read(&root(folder.path())).expect("a database");
        for (path, wanted) in [
            ("/usr/lib/libone.so.1.2", &["base"][..]),
            ("/usr/share/a", &["extra", "wrapper"]),
            ("/usr/bin/tool", &["wrapper"]),
            ("/usr/bin/tool.real", &["base"]),
            ("/usr/lib/python3/dist-packages/one.py", &["python3-one"]),
            ("/usr/lib/python3/dist-packages/__pycache__/one.cpython-311.pyc", &["python3-one"]),
            ("/usr/lib/python3/dist-packages/__pycache__/two.cpython-311.pyc", &[]),
            ("/etc/ld.so.cache", &[]),
        ] {
            assert_eq!(owners.of(path).into_iter().collect::<Vec<_>>(), wanted, "{path}");
        }
    }

    #[test]
    fn a_package_of_folders_and_documentation_is_hollow() {
        let folder = tempfile::tempdir().expect("a folder");
        let owners = Owners::read(&root(folder.path())).expect("a database");
        let hollow = owners.hollow(&BTreeSet::from(["all", "base", "extra"]));
        assert_eq!(hollow.into_iter().collect::<Vec<_>>(), ["all"]);
    }

    #[test]
    fn links_are_followed_through_the_layers_and_never_out_of_them() {
        let folder = tempfile::tempdir().expect("a folder");
        let owners = Owners::read(&root(folder.path())).expect("a database");
        let packages = BTreeSet::from(["extra"]);
        let links = |wanted: &str| -> Vec<String> {
            let found = owners.links(&packages, |path| path == wanted);
            found.into_values().flatten().collect()
        };
        assert_eq!(links("/usr/lib/libone.so.1.2"), ["/usr/lib/libone.so"]);
        assert!(links("/etc/none").is_empty(), "there is none in the layers");
        assert!(links("/usr/share/a").is_empty(), "no link");
    }
}
