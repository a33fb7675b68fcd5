#![allow(clippy::unwrap_used)]
use din_grammar::{FileId, parse};
#[test]
fn all() {
    for f in std::fs::read_dir("tests/texts").unwrap() {
        let p = f.unwrap().path();
        let t = std::fs::read_to_string(&p).unwrap();
        match parse(&t, FileId(0)) {
            Ok(f) => println!("{p:?} {} items\n{:#?}", f.items.len(), if f.items.len() == 1 { Some(&f) } else { None }),
            Err(e) => panic!("{p:?} {e:#?}\n{}", &t[e[0].labels[0].span.start as usize..]),
        }
    }
}
