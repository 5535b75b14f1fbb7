//! Out of all that apt and dpkg print, the lines that say why.

/// So many lines say why.
const LINES: usize = 8;
/// A line is shown so far.
const WIDTH: usize = 300;
/// So many bytes of what was printed are kept.
const LOG: usize = 8 << 10;

/// What apt says after it has said why.
const EMPTY: [&str; 4] = [
    "E: Unable to correct problems",
    "E: Sub-process /usr/bin/dpkg returned an error code",
    "E: Some index files failed to download",
    "E: The following packages have unmet dependencies",
];

/// What dpkg says that it is about to do.
const DOING: [&str; 6] = [
    "(Reading database",
    "Preparing to unpack",
    "Unpacking ",
    "Setting up ",
    "Removing ",
    "Purging configuration",
];

/// The lines that say why, at least one.
pub(super) fn reasons(said: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut add = |line: &str| {
        let line: String = line.trim().chars().take(WIDTH).collect();
        if !line.is_empty() && found.len() < LINES && !found.contains(&line) {
            found.push(line);
        }
    };
    let lines: Vec<&str> = said.lines().collect();
    let mut unmet = false;
    for (number, line) in lines.iter().enumerate() {
        if line.starts_with("The following packages have unmet dependencies") {
            unmet = true;
        } else if unmet && line.starts_with(' ') {
            add(line);
        } else {
            unmet = false;
            let is_dpkg = line.starts_with("dpkg: error") || line.starts_with("dpkg: warning: old");
            if is_dpkg {
                // What the script printed last, and what dpkg says of it below.
                if let Some(before) = number.checked_sub(1).map(|before| lines[before])
                    && !DOING.iter().any(|doing| before.starts_with(doing))
                {
                    add(before);
                }
                let below = lines[number + 1..].iter().take_while(|line| line.starts_with(' '));
                add(&below.fold((*line).to_owned(), |all, line| all + " " + line.trim()));
            } else if says_why(line) {
                add(line);
            }
        }
    }
    if found.is_empty() {
        let last = lines.iter().rev().map(|line| line.trim()).find(|line| !line.is_empty());
        let last = last.unwrap_or("nothing was printed");
        found.push(last.chars().take(WIDTH).collect());
    }
    found
}

fn says_why(line: &str) -> bool {
    let is_empty = EMPTY.iter().any(|empty| line.starts_with(empty));
    let is_complaint = line.starts_with("E: ") || line.starts_with("Err:");
    let is_warning = ["W: Failed", "W: GPG", "W: An error"].iter().any(|it| line.starts_with(it));
    (is_complaint && !is_empty) || is_warning
}

/// The end of what was printed.
pub(super) fn ending(said: &str) -> String {
    let from = said.len().saturating_sub(LOG);
    let from = (from..=said.len()).find(|at| said.is_char_boundary(*at)).unwrap_or(said.len());
    said[from..].trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_that_say_why_are_found() {
        let unmet = "Reading package lists...\nSome packages could not be installed.\n\
            The following packages have unmet dependencies:\n greet : Depends: libfoo (>= 2) but \
            it is not installable\n         Depends: bar but it is not going to be installed\n\
            E: Unable to correct problems, you have held broken packages.\n";
        let script = "Setting up greet (1.0) ...\nno such thing\ndpkg: error processing package \
            greet (--configure):\n installed greet package post-installation script subprocess \
            returned error exit status 3\nErrors were encountered while processing:\n greet\n\
            E: Sub-process /usr/bin/dpkg returned an error code (1)\n";
        let update = "Get:1 http://127.0.0.1 stable InRelease [1 B]\nErr:2 http://127.0.0.1 stable \
            Packages\n  Hash Sum mismatch\nE: Failed to fetch http://127.0.0.1  Hash Sum \
            mismatch\nE: Some index files failed to download.\n";
        for (said, expected) in [
            (
                unmet,
                &[
                    "greet : Depends: libfoo (>= 2) but it is not installable",
                    "Depends: bar but it is not going to be installed",
                ][..],
            ),
            (
                script,
                &[
                    "no such thing",
                    "dpkg: error processing package greet (--configure): installed greet package \
                     post-installation script subprocess returned error exit status 3",
                ],
            ),
            (
                update,
                &[
                    "Err:2 http://127.0.0.1 stable Packages",
                    "E: Failed to fetch http://127.0.0.1  Hash Sum mismatch",
                ],
            ),
            ("", &["nothing was printed"]),
            ("a\nlast\n\n", &["last"]),
        ] {
            assert_eq!(reasons(said), expected, "{said}");
        }
    }

    #[test]
    fn what_is_kept_of_a_log_is_its_end() {
        let long = "é".repeat(LOG);
        assert!(ending(&long).len() <= LOG);
        assert_eq!(ending("a\n"), "a");
    }
}
