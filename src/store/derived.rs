//! Texts that can always be made anew from pinned files, kept because that takes long.

use std::fmt::Display;
use std::fs::{self, DirBuilder};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;

use super::Store;
use super::error::{Result, system};
use crate::base::{Digest, HostPath};

/// Longest text that is kept, in bytes.
const LONGEST: u64 = 1 << 28;

const COMPRESSION: i32 = 3;

impl Store {
    /// The text of this kind that was made from what has this digest, if it is kept and whole.
    /// `kind` holds the version of the rules that made it.
    pub fn derived(&self, kind: &str, from: &impl Display) -> Result<Option<String>> {
        let path = self.derived_path(kind, from);
        let file = match fs::File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(system("open", &path)(error)),
        };
        let mut text = String::new();
        let read = zstd::stream::read::Decoder::new(file)
            .and_then(|decoder| decoder.take(LONGEST).read_to_string(&mut text));
        // A damaged one is made anew.
        let Some((digest, text)) = read.ok().and_then(|_| text.split_once('\n')) else {
            return Ok(None);
        };
        let sound = digest == Digest::of(text.as_bytes()).to_string();
        Ok(sound.then(|| text.to_owned()))
    }

    /// Keeps a text of this kind that was made from what has this digest.
    pub fn put_derived(&self, kind: &str, from: &impl Display, text: &str) -> Result<()> {
        let folder = self.path("derived");
        match DirBuilder::new().mode(0o700).create(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(system("create", &folder)(error));
            }
            _ => {}
        }
        let path = self.derived_path(kind, from);
        let mut file = tempfile::NamedTempFile::new_in(self.temporary()?)
            .map_err(system("write in", &folder))?;
        let write = |file: &mut fs::File| {
            let mut encoder = zstd::stream::write::Encoder::new(file, COMPRESSION)?;
            writeln!(encoder, "{}", Digest::of(text.as_bytes()))?;
            encoder.write_all(text.as_bytes())?;
            encoder.finish()?.sync_all()
        };
        write(file.as_file_mut()).map_err(system("write", &path))?;
        file.persist(&path).map_err(|error| system("name", &path)(error.error))?;
        Ok(())
    }

    fn derived_path(&self, kind: &str, from: &impl Display) -> HostPath {
        self.path("derived").join(format!("{kind}-{from}.zst"))
    }
}
