//! What the store can be asked for.

use clap::{Args, Subcommand};

/// What is asked of the store.
#[derive(Debug, Subcommand)]
pub enum Store {
    /// Show on one screen what takes how much room, for whom, and what could be freed
    #[command(after_help = "Example:\n  perestroika store usage")]
    Usage,
    /// Compare all that is kept with its name, put aside what is damaged, and say so
    #[command(after_help = "Example:\n  perestroika store verify\n\n\
                            What is put aside is fetched or built again when it is needed.\n\
                            Exit code: 1 if anything was damaged or missing.")]
    Verify(Verify),
    /// Remove what no release that was built or pinned needs, and no running process uses
    #[command(after_help = "Examples:\n  perestroika store gc -n\n  \
                            perestroika store gc --max-size 20G\n\n\
                            Of each release folder the last build stays, and the last that was \
                            whole. Builds may\nrun meanwhile. From container engines \
                            that config.toml, DOCKER_HOST or --executor names\ngoes all that is \
                            of this store and not in use.\n\n\
                            Exit code: 1 if what is needed takes more than --max-size.")]
    Gc(Gc),
    /// Keep a release that was built, whatever is built in its folder later
    #[command(after_help = "Examples:\n  perestroika store pin specs/demo\n  \
                            perestroika store pin b3:4f1c2a9be07d")]
    Pin(Named),
    /// Let a release go: its pin or, without one, what its folder's builds keep
    #[command(after_help = "Example:\n  perestroika store unpin specs/demo\n\n\
                            Nothing is removed before `perestroika store gc`. Without a pin, the \
                            builds in its\nfolder are forgotten, and keep nothing until the next \
                            one.")]
    Unpin(Named),
}

#[derive(Debug, Args)]
pub struct Verify {
    /// Only look whether the files of layers and unpacked packages are there, at their size
    #[arg(long)]
    pub quick: bool,
}

#[derive(Debug, Args)]
pub struct Gc {
    /// Remove no more than brings the store to this size, the least recently used first; after
    /// what nothing needs also what can be unpacked or made anew from what stays
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub max_size: Option<u64>,
    /// Only print what would be removed, and why
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
pub struct Named {
    /// A release that was built: its folder (`.` or with a `/`), its name, or its id
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Only print what would change
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

/// Bytes, or so many `K`, `M`, `G` or `T` of 1024, its square, and so on.
fn size(text: &str) -> Result<u64, String> {
    let (number, unit) = match text.find(|letter: char| !letter.is_ascii_digit()) {
        Some(at) => text.split_at(at),
        None => (text, ""),
    };
    let unit = match unit {
        "" => Some(1),
        "K" => Some(1 << 10),
        "M" => Some(1 << 20),
        "G" => Some(1 << 30),
        "T" => Some(1_u64 << 40),
        _ => None,
    };
    let bytes =
        number.parse::<u64>().ok().zip(unit).and_then(|(number, unit)| number.checked_mul(unit));
    bytes.ok_or_else(|| "expected a size such as 500M, 20G or 1T".to_owned())
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_are_read_in_powers_of_1024() {
        assert_eq!(size("0"), Ok(0));
        assert_eq!(size("20G"), Ok(20 << 30));
        assert_eq!(size("3T"), Ok(3 << 40));
        for wrong in ["", "G", "-1", "1.5G", "20g", "20GB", "99999999999T"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }
}
