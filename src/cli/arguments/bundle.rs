//! What can be asked for of bundles.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// What is done with a bundle.
#[derive(Debug, Subcommand)]
pub enum Bundle {
    /// Write a release that is built, and everything it was built from, to a new file
    #[command(
        after_help = "Examples:\n  perestroika bundle create demo.perestroika specs/demo\n  \
                            perestroika bundle create next.perestroika --delta demo.perestroika\n  \
                            perestroika bundle create demo.records specs/demo --records\n\n\
                            The same release with the same records makes the same bytes. Killed, it \
                            goes on where it\nwas: what is written is FILE.partial until it is whole."
    )]
    Create(BundleCreate),
    /// Check every byte of a bundle, without a store
    #[command(after_help = "Examples:\n  perestroika bundle verify demo.perestroika\n  \
                            perestroika bundle verify demo.perestroika --key builder.pub\n\n\
                            Whoever changes a bundle can sign it anew with another key: compare the \
                            key with one that\ncame to you another way.\n\n\
                            Exit code: 1 if anything is not as it has to be.")]
    Verify(BundleVerify),
    /// Bring a bundle into the store, each byte checked before
    #[command(after_help = "Examples:\n  perestroika bundle import demo.perestroika --to demo\n  \
                            perestroika bundle import demo.perestroika --trust builder.pub\n\n\
                            Its records are evidence: no build uses what they say, except those \
                            signed by a key that\n--trust names. It is kept until `perestroika \
                            store unpin` lets the release go.")]
    Import(BundleImport),
}

#[derive(Debug, Args)]
pub struct BundleCreate {
    /// The new file
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The release folder; the nearest by default
    #[arg(value_name = "RELEASE")]
    pub release: Option<PathBuf>,
    /// Leave out what this bundle has
    #[arg(long, value_name = "OLD", conflicts_with = "records")]
    pub delta: Option<PathBuf>,
    /// Only documents and signatures: no files, no logs
    #[arg(long)]
    pub records: bool,
    /// Only print what would be in it
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
pub struct BundleVerify {
    /// The bundle
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The key that must have signed it: a file, or its fingerprint
    #[arg(long, value_name = "FILE|FINGERPRINT")]
    pub key: Option<String>,
}

#[derive(Debug, Args)]
pub struct BundleImport {
    /// The bundle
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Use records that this key signed as results: a file, or its fingerprint
    #[arg(long, value_name = "KEY")]
    pub trust: Vec<String>,
    /// Write the release folder here, which must not be there
    #[arg(long, value_name = "DIR")]
    pub to: Option<PathBuf>,
    /// Only check it, and print what would be brought
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}
