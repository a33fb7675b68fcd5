//! The library `libdin_mpi.so`, which `runtime/mpi` builds for each MPI library: where it is looked
//! for, and its functions. Din itself links no MPI.

use super::launch::Launcher;
use crate::{Error, Result};
use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
use std::ffi::{CStr, c_char, c_int};
use std::fmt;
use std::path::{Path, PathBuf};

/// Names the library's file.
const VARIABLE: &str = "DIN_MPI_LIBRARY";
/// The version of its interface, as `runtime/mpi/src/lib.rs` has it.
const INTERFACE: u32 = 2;
const NAME: &str = "libdin_mpi.so";

/// What starts an exchange of messages between all ranks; see `runtime/mpi/src/lib.rs`.
pub(super) type AllToAll =
    unsafe extern "C" fn(c_int, *const u32, *const c_int, *const c_int, *mut u32, *const c_int, *const c_int) -> c_int;
/// What starts sending a message to all ranks.
pub(super) type AllGather =
    unsafe extern "C" fn(c_int, *const u32, c_int, *mut u32, *const c_int, *const c_int) -> c_int;
/// What writes a text of at most so many bytes.
type Text = unsafe extern "C" fn(*mut c_char, usize);

/// The functions of the library. It stays open until the process ends.
pub(super) struct MpiLibrary {
    start: unsafe extern "C" fn() -> c_int,
    rank: unsafe extern "C" fn(*mut c_int, *mut c_int) -> c_int,
    pub all_to_all: AllToAll,
    pub all_gather: AllGather,
    pub test: unsafe extern "C" fn(c_int, *mut c_int) -> c_int,
    stop: unsafe extern "C" fn(),
    finish: unsafe extern "C" fn() -> c_int,
    library: Text,
    error: unsafe extern "C" fn(c_int, *mut c_char, usize),
    /// The file it was opened from.
    pub path: PathBuf,
}

impl fmt::Debug for MpiLibrary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MpiLibrary").field("path", &self.path).finish_non_exhaustive()
    }
}

impl MpiLibrary {
    /// Starts MPI in this process; blocks until every rank has.
    pub fn start(&self) -> Result<()> {
        // SAFETY: may be called at any time, from any thread.
        self.checked("start MPI", unsafe { (self.start)() })
    }

    /// This rank, and their number.
    pub fn rank(&self) -> Result<(usize, usize)> {
        let (mut rank, mut size) = (0, 0);
        // SAFETY: both may be written to.
        self.checked("ask MPI for the rank", unsafe { (self.rank)(&mut rank, &mut size) })?;
        let count = |number: c_int| usize::try_from(number).expect("MPI counts from 0");
        Ok((count(rank), count(size)))
    }

    /// No call reaches MPI after it, so that memory of exchanges under way may be used again.
    pub fn stop(&self) {
        // SAFETY: may be called at any time, from any thread.
        unsafe { (self.stop)() };
    }

    /// Ends MPI; blocks until every rank does.
    pub fn finish(&self) -> Result<()> {
        // SAFETY: may be called at any time; answers with an error where an exchange is under way.
        self.checked("end MPI", unsafe { (self.finish)() })
    }

    /// The MPI library behind it, in one line.
    pub fn description(&self) -> String {
        // SAFETY: the buffer has the length that is passed.
        let text = text(|to, capacity| unsafe { (self.library)(to, capacity) });
        text.lines().next().unwrap_or("an MPI library without a name").trim_end_matches(',').to_string()
    }

    /// An error where a function answered with one.
    pub fn checked(&self, doing: &str, code: c_int) -> Result<()> {
        if code == 0 {
            return Ok(());
        }
        // SAFETY: the buffer has the length that is passed, and the code is one of the library's.
        let why = text(|to, capacity| unsafe { (self.error)(code, to, capacity) });
        Err(Error::machine(format!("MPI ({}): cannot {doing}: {why}", self.description())))
    }
}

/// What a function writes as a text that ends with 0.
fn text(write: impl FnOnce(*mut c_char, usize)) -> String {
    let mut bytes = vec![0u8; 8192];
    write(bytes.as_mut_ptr().cast(), bytes.len());
    CStr::from_bytes_until_nul(&bytes).expect("the text ends with 0").to_string_lossy().into_owned()
}

/// Where the library is looked for, first to last: the option; the environment; beside the
/// executable, under its name alone and under that for the launcher's MPI; the system's folders.
/// The first two name a file that must be there.
fn places(option: Option<&Path>, variable: Option<PathBuf>, folder: Option<&Path>, launcher: Launcher) -> Vec<Place> {
    if let Some(path) = option {
        return vec![Place::Named(path.into(), "--mpi-library")];
    }
    if let Some(path) = variable {
        return vec![Place::Named(path, VARIABLE)];
    }
    let suffixed = match launcher {
        Launcher::OpenMpi | Launcher::Pmix => ["libdin_mpi_openmpi.so", "libdin_mpi_mpich.so"],
        Launcher::Mpich | Launcher::Slurm => ["libdin_mpi_mpich.so", "libdin_mpi_openmpi.so"],
    };
    let names = match launcher {
        // These start the ranks of one MPI library alone.
        Launcher::OpenMpi | Launcher::Mpich => vec![NAME, suffixed[0]],
        Launcher::Slurm | Launcher::Pmix => vec![NAME, suffixed[0], suffixed[1]],
    };
    let beside = folder.into_iter().flat_map(|folder| names.iter().map(|name| Place::Beside(folder.join(name))));
    beside.chain(names.iter().map(|name| Place::System(name))).collect()
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// A file, and what named it.
    Named(PathBuf, &'static str),
    /// A file beside the executable.
    Beside(PathBuf),
    /// A name that the dynamic linker looks for.
    System(&'static str),
}

impl Place {
    fn path(&self) -> &Path {
        match self {
            Self::Named(path, _) | Self::Beside(path) => path,
            Self::System(name) => Path::new(name),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(path, by) => write!(f, "{} ({by})", path.display()),
            Self::Beside(path) => write!(f, "{}", path.display()),
            Self::System(name) => write!(f, "{name} in the system's library folders"),
        }
    }
}

/// What to install so that an MPI library of a launcher is there.
fn packages(launcher: Launcher) -> &'static str {
    match launcher {
        Launcher::OpenMpi => "openmpi-bin and libopenmpi-dev",
        Launcher::Mpich => "mpich and libmpich-dev",
        Launcher::Slurm | Launcher::Pmix => "openmpi-bin and libopenmpi-dev, or mpich and libmpich-dev",
    }
}

/// How the library for a launcher comes to be.
pub(super) fn how_to_build(launcher: Launcher) -> String {
    let compiler = match launcher {
        Launcher::OpenMpi => "mpicc.openmpi",
        Launcher::Mpich => "mpicc.mpich",
        Launcher::Slurm | Launcher::Pmix => "mpicc",
    };
    format!(
        "install the MPI that runs here (Debian: {}), build the library with `cargo xtask mpi --mpicc {compiler}`, and \
         name it by --mpi-library or {VARIABLE}, or put it beside the executable",
        packages(launcher)
    )
}

/// Opens the library for ranks that a launcher has started.
pub(super) fn open(option: Option<&Path>, launcher: Launcher) -> Result<MpiLibrary> {
    let needed = format!("{launcher} has started several ranks, but the library for MPI cannot be opened");
    open_for(option, launcher, &needed)
}

/// The same, with what is to be said where there is none.
fn open_for(option: Option<&Path>, launcher: Launcher, absent: &str) -> Result<MpiLibrary> {
    let variable = std::env::var_os(VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from);
    let executable = std::env::current_exe().ok();
    let folder = executable.as_deref().and_then(Path::parent);
    open_first(&places(option, variable, folder, launcher), launcher, absent)
}

/// A library for MPI that ranks would use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundMpi {
    /// Its file, or the name that the dynamic linker knows.
    pub path: PathBuf,
    /// The MPI library behind it, in one line.
    pub description: String,
}

/// The library that is found without the launcher's variables; it is opened, and MPI is not
/// started.
///
/// # Errors
/// There is none, or it is of another version of din.
pub fn find_mpi(option: Option<&Path>) -> Result<FoundMpi> {
    let library = open_for(option, Launcher::Pmix, "the library for MPI cannot be opened")?;
    Ok(FoundMpi { description: library.description(), path: library.path })
}

fn open_first(places: &[Place], launcher: Launcher, absent: &str) -> Result<MpiLibrary> {
    let mut tried = String::new();
    for place in places {
        if matches!(place, Place::Beside(path) if !path.exists()) {
            tried.push_str(&format!("\n  {place}: not there"));
            continue;
        }
        // SAFETY: what is opened is ours, by its name or because the user names it; its
        // initialisation and that of the MPI library that it links are made to be loaded so. MPI's
        // own plug-ins look for its symbols, which are therefore global.
        match unsafe { Library::open(Some(place.path()), RTLD_NOW | RTLD_GLOBAL) } {
            Ok(library) => return bind(library, place.path(), launcher),
            Err(why) => tried.push_str(&format!("\n  {place}: {why}")),
        }
    }
    Err(Error::input(format!("{absent}:{tried}")).help(how_to_build(launcher)))
}

fn bind(library: Library, path: &Path, launcher: Launcher) -> Result<MpiLibrary> {
    let foreign = |why: String| {
        Error::input(format!("{}: not the library for MPI of this version of din: {why}", path.display()))
            .help(how_to_build(launcher))
    };
    // SAFETY: every version has this function with this type.
    let interface = unsafe {
        let function = library.get::<unsafe extern "C" fn() -> u32>(b"din_mpi_interface");
        function.map_err(|why| foreign(why.to_string()))?()
    };
    if interface != INTERFACE {
        return Err(foreign(format!("expected version {INTERFACE} of its interface, found {interface}")));
    }
    /// A function of the library, by its name.
    macro_rules! function {
        ($name:literal) => {
            // SAFETY: this version of the interface has it with the type of the field.
            unsafe { *library.get($name).map_err(|why| foreign(why.to_string()))? }
        };
    }
    let bound = MpiLibrary {
        start: function!(b"din_mpi_start"),
        rank: function!(b"din_mpi_rank"),
        all_to_all: function!(b"din_mpi_all_to_all"),
        all_gather: function!(b"din_mpi_all_gather"),
        test: function!(b"din_mpi_test"),
        stop: function!(b"din_mpi_stop"),
        finish: function!(b"din_mpi_finish"),
        library: function!(b"din_mpi_library"),
        error: function!(b"din_mpi_error"),
        path: path.into(),
    };
    // MPI's threads and handlers may run until the process ends.
    std::mem::forget(library);
    Ok(bound)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn searched(option: Option<&str>, variable: Option<&str>, launcher: Launcher) -> Vec<String> {
        let places = places(option.map(Path::new), variable.map(PathBuf::from), Some(Path::new("/opt/din")), launcher);
        places.iter().map(|place| place.path().display().to_string()).collect()
    }

    #[test]
    fn option_environment_executable_system() {
        assert_eq!(searched(Some("/a.so"), Some("/b.so"), Launcher::OpenMpi), ["/a.so"]);
        assert_eq!(searched(None, Some("/b.so"), Launcher::Mpich), ["/b.so"]);
        assert_eq!(
            searched(None, None, Launcher::Mpich),
            ["/opt/din/libdin_mpi.so", "/opt/din/libdin_mpi_mpich.so", "libdin_mpi.so", "libdin_mpi_mpich.so"]
        );
        let slurm = searched(None, None, Launcher::Slurm);
        assert!(slurm.iter().any(|p| p.ends_with("_openmpi.so")) && slurm.iter().any(|p| p.ends_with("_mpich.so")));
    }

    #[test]
    fn a_missing_library_names_what_was_searched_and_what_to_install() {
        let places = places(None, None, Some(Path::new("/no/such/folder")), Launcher::OpenMpi);
        let error = open_first(&places, Launcher::OpenMpi, "none").unwrap_err();
        for part in [
            "/no/such/folder/libdin_mpi.so: not there",
            "libdin_mpi_openmpi.so in the system",
            "libopenmpi-dev",
            "xtask mpi",
        ] {
            assert!(error.message.contains(part), "{part}: {error}");
        }
        assert_eq!(error.exit_code(), 1);
    }

    #[test]
    fn another_library_is_refused() {
        let place = [Place::Named("libc.so.6".into(), "--mpi-library")];
        let error = open_first(&place, Launcher::Mpich, "none").unwrap_err();
        assert!(error.message.starts_with("libc.so.6: not the library for MPI"), "{error}");
    }
}
