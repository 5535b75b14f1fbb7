//! How folders are written so that the reader can use them: in a message, in a command to run.

use std::path::{Path, PathBuf};

use crate::base::HostPath;

/// A path as short as it can be written from here.
pub fn shown(path: &HostPath) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    let short = path.as_path().strip_prefix(&here).unwrap_or(path.as_path());
    // Without a slash at its end, however it was given.
    short.components().collect::<PathBuf>().display().to_string()
}

/// A folder so written that the command line takes it for one.
pub fn slashed(folder: &HostPath) -> String {
    let short = shown(folder);
    match short.as_str() {
        "" => ".".to_owned(),
        short if short.contains('/') => short.to_owned(),
        short => format!("./{short}"),
    }
}

/// A command for a package, to be run from here: it names the release folder unless that would be
/// found anyway.
pub fn command(command: &str, folder: &HostPath, package: &str) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    if is_nearest(folder.as_path(), &here) {
        return format!("perestroika {command} {package}");
    }
    format!("perestroika {command} {} {package}", slashed(folder))
}

/// Commands that take a release folder right after their name.
const COMMANDS: [&str; 7] = ["add", "build", "check", "eval", "lock", "reproduce", "update"];

/// A hint whose commands name the release folder, unless they would find it from here.
pub fn addressed(hint: &str, folder: &HostPath) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    if is_nearest(folder.as_path(), &here) {
        return hint.to_owned();
    }
    let folder = slashed(folder);
    COMMANDS.iter().fold(hint.to_owned(), |hint, command| {
        let bare = format!("`perestroika {command}");
        let named = format!("{bare} {folder}");
        let mut parts = hint.split(bare.as_str());
        let mut text = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            // A longer word is another command; a folder may be there already.
            let bare_here =
                part.starts_with(['`', ' ']) && !part.starts_with(&format!(" {folder}"));
            text.push_str(if bare_here { &named } else { &bare });
            text.push_str(part);
        }
        text
    })
}

/// Whether commands without a folder mean this one.
fn is_nearest(folder: &Path, here: &Path) -> bool {
    here.ancestors().find(|parent| parent.join("release.toml").is_file()) == Some(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_name_the_folder_that_is_not_here() {
        let folder = HostPath::new("/elsewhere/demo");
        let check = |hint: &str, expected: &str| assert_eq!(addressed(hint, &folder), expected);
        check("`perestroika lock` pins it", "`perestroika lock /elsewhere/demo` pins it");
        check(
            "`perestroika update stdlib` and `perestroika lock`",
            "`perestroika update /elsewhere/demo stdlib` and `perestroika lock /elsewhere/demo`",
        );
        check("`perestroika doctor` and `lock`", "`perestroika doctor` and `lock`");
        check("`perestroika build /elsewhere/demo x`", "`perestroika build /elsewhere/demo x`");
    }

    #[test]
    fn a_folder_is_never_taken_for_a_package() {
        let here = HostPath::new(std::env::current_dir().unwrap());
        assert_eq!(slashed(&here), ".");
        assert_eq!(slashed(&here.join("demo")), "./demo");
        assert_eq!(slashed(&here.join("specs/demo")), "specs/demo");
    }
}
