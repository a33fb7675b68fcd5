//! Writes the inputs that fuzzing begins with into a folder: `fuzz_seeds TARGET FOLDER`.

use din_tests::fuzz::seeds;
use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [target, folder] = arguments.as_slice() else { return Err("usage: fuzz_seeds TARGET FOLDER".into()) };
    for seed in seeds(target) {
        std::fs::write(Path::new(folder).join(seed.name), seed.bytes)?;
    }
    Ok(())
}
