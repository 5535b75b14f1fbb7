//! What `key` can be asked for.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use jiff::{Span, SpanRelativeTo, Timestamp, Unit};

/// What can be asked of keys.
#[derive(Debug, Subcommand)]
pub enum Key {
    /// Make a key to sign a repository with: its secret half in a file for you alone, its public
    /// half beside it
    #[command(after_help = "Example:\n  \
                            perestroika key new \"Demo archive <release@example.org>\" -o keys\n\n\
                            Nothing protects the secret half but the mode of its file: `gpg \
                            --import` gives it to gpg,\nwhose agent signs as well. Nothing is ever \
                            overwritten.")]
    New(KeyNew),
    /// Say what the keys of each suite are good for, and where their secret halves are
    Check(KeyCheck),
    /// List the store's keys: what they are for, and their names
    List,
    /// Print the public half of the builder key, as openssl reads it
    Show,
}

/// The key that is made.
#[derive(Debug, Args)]
pub struct KeyNew {
    /// Who signs with it: `Demo archive <release@example.org>`
    #[arg(value_name = "NAME")]
    pub user: String,
    /// The folder its files are written to; no release folder
    #[arg(short, long, value_name = "DIR")]
    pub output: PathBuf,
    /// How long clients accept it: 18m, 2y
    #[arg(long, value_name = "TIME", default_value = "3y", value_parser = expiry)]
    pub expire: Span,
    /// What it is made of
    #[arg(long, value_enum, default_value_t = KeyAlgorithm::Ed25519)]
    pub algorithm: KeyAlgorithm,
}

/// What a key is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum KeyAlgorithm {
    /// Curve 25519, for apt since Debian 9 and rpm since 4.16
    Ed25519,
    /// RSA of 4096 bits, for older clients
    Rsa4096,
}

/// Whose keys are looked at.
#[derive(Debug, Args)]
pub struct KeyCheck {
    /// The release folder (`.` or with a `/`) [default: the nearest]
    #[arg(value_name = "RELEASE")]
    pub words: Vec<String>,
    /// A file with the secret half of a key that signs
    #[arg(long, env = "PERESTROIKA_KEY_FILE", value_name = "FILE", value_delimiter = ':')]
    pub key_file: Vec<PathBuf>,
}

/// The longest that a key may last, in years.
const MOST_YEARS: i64 = 20;

/// `30d`, `8w`, `18m`, `2y`.
fn expiry(text: &str) -> Result<Span, String> {
    let wrong = || format!("expected a time from 1d to {MOST_YEARS}y, such as 90d, 18m or 2y");
    let unit = text.chars().next_back().ok_or_else(wrong)?;
    let number: i64 = text[..text.len() - unit.len_utf8()].parse().map_err(|_| wrong())?;
    let span = match unit {
        'd' => Span::new().try_days(number),
        'w' => Span::new().try_weeks(number),
        'm' => Span::new().try_months(number),
        'y' => Span::new().try_years(number),
        _ => return Err(wrong()),
    };
    let span = span.map_err(|_| wrong())?;
    let epoch = Timestamp::UNIX_EPOCH.to_zoned(jiff::tz::TimeZone::UTC);
    let years = span.total((Unit::Year, SpanRelativeTo::from(&epoch))).map_err(|_| wrong())?;
    let most = MOST_YEARS as f64;
    if number > 0 && years <= most { Ok(span) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_a_key_lasts_is_a_number_and_a_unit() {
        for (text, expected) in [
            ("1d", Some(Span::new().days(1))),
            ("8w", Some(Span::new().weeks(8))),
            ("18m", Some(Span::new().months(18))),
            ("20y", Some(Span::new().years(20))),
            ("21y", None),
            ("99999999d", None),
            ("99999999999999999999d", None),
            ("0y", None),
            ("-1y", None),
            ("2", None),
            ("y", None),
            ("2é", None),
            ("", None),
        ] {
            let found = expiry(text).ok().map(Span::fieldwise);
            assert_eq!(found, expected.map(Span::fieldwise), "{text}");
        }
    }
}
