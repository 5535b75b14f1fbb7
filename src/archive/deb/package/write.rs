//! The `.deb` writer (deb(5)), for packages that hold a few small files.

use std::collections::BTreeSet;
use std::io::{self, Write as _};

use md5::{Digest as _, Md5};

/// A file of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Where it is installed, without the `/` before it.
    pub path: String,
    /// What is in it.
    pub bytes: Vec<u8>,
}

/// A package of these files, all of root and readable by everyone; those below `etc` are its
/// conffiles. `control` holds the fields of its control file, but for `Installed-Size`; `at` is the
/// time of everything, in seconds since 1970. The same arguments give the same bytes.
///
/// # Errors
/// A path, a time or a length that does not fit into the formats.
pub fn write(control: &str, files: &[File], at: u64) -> io::Result<Vec<u8>> {
    let mut files: Vec<&File> = files.iter().collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let (mut sums, mut conffiles) = (String::new(), String::new());
    for file in &files {
        if file.path.starts_with("etc/") {
            conffiles.push_str(&format!("/{}\n", file.path));
        } else {
            let sum = Md5::digest(&file.bytes);
            let hex: String = sum.iter().map(|byte| format!("{byte:02x}")).collect();
            sums.push_str(&format!("{hex}  {}\n", file.path));
        }
    }
    let folders = folders(&files);
    // As dpkg-gencontrol(1) counts: each file in whole kilobytes, one for everything else.
    let size: usize =
        files.iter().map(|file| file.bytes.len().div_ceil(1024)).sum::<usize>() + folders.len();
    let control = format!("{}\nInstalled-Size: {size}\n", control.trim_end());

    let mut parts = Archive::new(at)?;
    parts.folder("./")?;
    if !conffiles.is_empty() {
        parts.file("./conffiles", conffiles.as_bytes())?;
    }
    parts.file("./control", control.as_bytes())?;
    parts.file("./md5sums", sums.as_bytes())?;

    let mut data = Archive::new(at)?;
    data.folder("./")?;
    let mut all: Vec<(&str, Option<&File>)> = folders.iter().map(|path| (*path, None)).collect();
    all.extend(files.iter().map(|file| (file.path.as_str(), Some(*file))));
    all.sort_by_key(|(path, _)| *path);
    for (path, file) in all {
        match file {
            Some(file) => data.file(&format!("./{path}"), &file.bytes)?,
            None => data.folder(&format!("./{path}/"))?,
        }
    }

    let mut package = b"!<arch>\n".to_vec();
    for (name, bytes) in [
        ("debian-binary", b"2.0\n".to_vec()),
        ("control.tar.xz", parts.packed()?),
        ("data.tar.xz", data.packed()?),
    ] {
        let size = bytes.len();
        // Name, time, owner, group, mode, size (deb(5)).
        writeln!(package, "{name:<16}{at:<12}{:<6}{:<6}{:<8}{size:<10}`", 0, 0, 100_644)?;
        package.extend(bytes);
        if size % 2 == 1 {
            package.push(b'\n');
        }
    }
    Ok(package)
}

/// All folders that the files lie in.
fn folders<'a>(files: &[&'a File]) -> BTreeSet<&'a str> {
    let parents = |file: &&'a File| {
        let path: &'a str = &file.path;
        path.match_indices('/').map(|(at, _)| &path[..at]).collect::<Vec<_>>()
    };
    files.iter().flat_map(parents).collect()
}

/// A tar file under way.
struct Archive {
    tar: Vec<u8>,
    at: u64,
}

const BLOCK: usize = 512;

impl Archive {
    fn new(at: u64) -> io::Result<Self> {
        // Eleven octal digits.
        if at >= 1 << 33 {
            return Err(io::Error::other("the time does not fit into a tar header"));
        }
        Ok(Self { tar: Vec::new(), at })
    }

    fn folder(&mut self, path: &str) -> io::Result<()> {
        self.member(path, tar::EntryType::Directory, 0o755, b"")
    }

    fn file(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        self.member(path, tar::EntryType::Regular, 0o644, bytes)
    }

    fn member(
        &mut self,
        path: &str,
        kind: tar::EntryType,
        mode: u32,
        bytes: &[u8],
    ) -> io::Result<()> {
        let mut header = tar::Header::new_gnu();
        // Written as it is: the crate would leave out the dot, which dpkg-deb writes.
        let field = &mut header.as_old_mut().name;
        let name = path.as_bytes();
        if name.len() >= field.len() {
            return Err(io::Error::other(format!("`{path}` does not fit into a tar header")));
        }
        field[..name.len()].copy_from_slice(name);
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_username("root")?;
        header.set_groupname("root")?;
        header.set_mtime(self.at);
        header.set_size(bytes.len() as u64);
        header.set_cksum();
        self.tar.extend_from_slice(header.as_bytes());
        self.tar.extend_from_slice(bytes);
        self.tar.resize(self.tar.len().next_multiple_of(BLOCK), 0);
        Ok(())
    }

    fn packed(mut self) -> io::Result<Vec<u8>> {
        self.tar.resize(self.tar.len() + 2 * BLOCK, 0);
        let mut packed = liblzma::write::XzEncoder::new(Vec::new(), 6);
        packed.write_all(&self.tar)?;
        packed.finish()
    }
}
