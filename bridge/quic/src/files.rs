//! Files that are there whole or not at all: written beside, synced, and given their name. After a crash a name has the old file or the new one; a file that begins with a dot and ends in `.new` may be left.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Who may read a file, as far as the umask lets them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Secrecy {
    /// Everybody: certificates.
    Public,
    /// Its owner: keys.
    Secret,
}

/// What becomes of a file that has the name already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clash {
    /// It stays, and the new one isn't written: [`io::ErrorKind::AlreadyExists`].
    Refuse,
    /// The new one takes its place.
    Replace,
}

/// Makes a directory, with those above it, for its owner alone; one that is there stays as it is.
pub(crate) fn make_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Writes a file. Cost: two syncs.
pub(crate) fn write(path: &Path, bytes: &[u8], secrecy: Secrecy, clash: Clash) -> io::Result<()> {
    let (draft, mut file) = draft(path, secrecy)?;
    let put = file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| match clash {
        // Unlike a rename, a link never takes a name away.
        Clash::Refuse => fs::hard_link(&draft, path),
        Clash::Replace => fs::rename(&draft, path),
    });
    if clash == Clash::Refuse || put.is_err() {
        // Nobody asks for it: what is left over is in nobody's way.
        let _ = fs::remove_file(&draft);
    }
    put?;
    File::open(directory_of(path))?.sync_all()
}

/// A new file beside `path`, with a name that no other has.
fn draft(path: &Path, secrecy: Secrecy) -> io::Result<(PathBuf, File)> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
    let mode = if secrecy == Secrecy::Secret { 0o600 } else { 0o644 };
    let mut attempt = 0_u32;
    loop {
        let draft = directory_of(path).join(format!(".{name}.{}.{attempt}.new", std::process::id()));
        match File::options().write(true).create_new(true).mode(mode).open(&draft) {
            Ok(file) => return Ok((draft, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && attempt < 1000 => attempt += 1,
            Err(error) => return Err(error),
        }
    }
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_file_that_is_there_stays_unless_it_is_to_be_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        write(&path, b"old", Secrecy::Secret, Clash::Refuse).unwrap();
        let error = write(&path, b"new", Secrecy::Public, Clash::Refuse).unwrap_err();
        assert_eq!((error.kind(), fs::read(&path).unwrap()), (io::ErrorKind::AlreadyExists, b"old".to_vec()));
        write(&path, b"new", Secrecy::Secret, Clash::Replace).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing is left over");
    }

    #[test]
    fn drafts_that_a_dead_process_left_are_in_nobodys_way() {
        let directory = tempfile::tempdir().unwrap();
        let left = directory.path().join(format!(".file.{}.0.new", std::process::id()));
        fs::write(left, b"half").unwrap();
        write(&directory.path().join("file"), b"whole", Secrecy::Public, Clash::Refuse).unwrap();
        assert_eq!(fs::read(directory.path().join("file")).unwrap(), b"whole");
    }
}
