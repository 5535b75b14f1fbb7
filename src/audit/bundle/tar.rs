//! The one form in which a file stands in the tar of a bundle (POSIX.1-1988, ustar).

/// Everything in a tar comes in blocks of so many bytes.
pub const BLOCK: usize = 512;

/// The largest file: a size has eleven octal digits.
pub const LARGEST: u64 = (1 << 33) - 1;

/// What a tar ends with.
pub const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

/// The header of a file, whose path has at most 100 bytes.
pub fn header(path: &str, size: u64) -> [u8; BLOCK] {
    let mut header = [0; BLOCK];
    let mut put = |at: usize, text: &[u8]| header[at..at + text.len()].copy_from_slice(text);
    put(0, path.as_bytes());
    put(100, b"0000644\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{size:011o}\0").as_bytes());
    put(136, b"00000000000\0");
    // The checksum counts as spaces while it is made.
    put(148, b"        ");
    put(156, b"0");
    put(257, b"ustar\x0000");
    put(329, b"0000000\0");
    put(337, b"0000000\0");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

/// How many bytes of zero follow a file of so many bytes.
pub fn padding(size: u64) -> usize {
    let over = (size % BLOCK as u64) as usize;
    if over == 0 { 0 } else { BLOCK - over }
}

/// What a file of so many bytes takes in all.
pub fn extent(size: u64) -> u64 {
    BLOCK as u64 + size + padding(size) as u64
}

/// A file as it stands in the tar.
pub fn whole(path: &str, content: &[u8]) -> Vec<u8> {
    let size = content.len() as u64;
    let padding = vec![0; padding(size)];
    [&header(path, size), content, &padding].concat()
}

/// The content of the file of this path that `tar` begins with, and what follows it; nothing if
/// it begins otherwise.
pub fn split<'a>(tar: &'a [u8], path: &str) -> Option<(&'a [u8], &'a [u8])> {
    let digits = std::str::from_utf8(tar.get(124..135)?).ok()?;
    let size = u64::from_str_radix(digits, 8).ok()?;
    let rest = tar.strip_prefix(&header(path, size))?;
    let (content, rest) = rest.split_at_checked(usize::try_from(size).ok()?)?;
    let (empty, rest) = rest.split_at_checked(padding(size))?;
    empty.iter().all(|byte| *byte == 0).then_some((content, rest))
}
