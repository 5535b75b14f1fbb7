//! The `perestroika` program: everything is in the library.

fn main() -> std::process::ExitCode {
    perestroika::cli::main()
}
