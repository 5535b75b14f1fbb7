//! What of a source folder does not count.

/// Files and folders that version control keeps for itself, at any depth.
const VERSION_CONTROL: [&str; 9] =
    [".git", ".hg", ".svn", ".bzr", ".jj", ".pijul", "_darcs", "CVS", "_MTN"];

/// The file that names more of them, at the top of the source folder.
pub(super) const FILE: &str = ".perestroikaignore";

/// What is left out of a source folder.
///
/// A line of `.perestroikaignore` is a pattern: `*` stands for any characters but `/`, `?` for
/// one. A pattern with a `/` before its end is a path from the top of the folder, any other a
/// name at any depth; one that ends in `/` means folders only. `#` begins a comment line.
#[derive(Debug, Default)]
pub(super) struct Ignore {
    patterns: Vec<Pattern>,
}

#[derive(Debug)]
struct Pattern {
    text: Vec<char>,
    whole_path: bool,
    only_folders: bool,
}

/// Whether a name is that of a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Folder,
    Other,
}

impl Ignore {
    /// Reads the text of the file.
    pub fn parse(text: &str) -> Self {
        let pattern = |line: &str| {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                return None;
            }
            let path = line.trim_end_matches('/');
            Some(Pattern {
                text: path.trim_start_matches('/').chars().collect(),
                whole_path: path.contains('/'),
                only_folders: line.ends_with('/'),
            })
        };
        Self { patterns: text.lines().filter_map(pattern).collect() }
    }

    /// Whether `path`, relative to the top of the source folder, is left out.
    pub fn leaves_out(&self, path: &str, kind: Kind) -> bool {
        let name = path.rsplit('/').next().unwrap_or(path);
        VERSION_CONTROL.contains(&name)
            || path == FILE
            || path == "out" && kind == Kind::Folder
            || self.patterns.iter().any(|pattern| {
                let subject = if pattern.whole_path { path } else { name };
                (kind == Kind::Folder || !pattern.only_folders)
                    && matches(&pattern.text, &subject.chars().collect::<Vec<_>>())
            })
    }
}

/// Shell patterns without brackets, in time proportional to the product of the lengths.
fn matches(pattern: &[char], text: &[char]) -> bool {
    let (mut at, mut in_text) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while in_text < text.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, in_text));
                at += 1;
                continue;
            }
            Some(character)
                if *character == text[in_text] || *character == '?' && text[in_text] != '/' =>
            {
                at += 1;
                in_text += 1;
                continue;
            }
            _ => {}
        }
        match star {
            Some((star_at, from)) if text[from] != '/' => {
                star = Some((star_at, from + 1));
                at = star_at + 1;
                in_text = from + 1;
            }
            _ => return false,
        }
    }
    pattern[at..].iter().all(|character| *character == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(patterns: &str, out: &[&str], kept: &[&str]) {
        let ignore = Ignore::parse(patterns);
        let leaves_out = |path: &str| match path.strip_suffix('/') {
            Some(folder) => ignore.leaves_out(folder, Kind::Folder),
            None => ignore.leaves_out(path, Kind::Other),
        };
        for path in out {
            assert!(leaves_out(path), "{path} should be left out");
        }
        for path in kept {
            assert!(!leaves_out(path), "{path} should be kept");
        }
    }

    #[test]
    fn version_control_and_products_do_not_count() {
        let kept = ["src/out/", "out", ".gitignore"];
        check("", &[".git/", "a/.git", "x/.svn/", "out/", FILE], &kept);
    }

    #[test]
    fn patterns_mean_names_paths_or_folders() {
        check(
            "# comment\n\n*.o\n/build/*.txt\ncache/\n??\n",
            &["a.o", "d/b.o", "build/x.txt", "d/cache/", "ab", "d/ab"],
            &["a.oo", "build/d/x.txt", "d/build/x.txt", "cache", "abc"],
        );
        check("a*b*c", &["abc", "a1b2c", "aXbbcc"], &["ab", "acb", "a/bc"]);
    }
}
