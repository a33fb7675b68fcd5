use din_grammar::*;
fn main() {
    let t = std::fs::read_to_string(std::env::args().nth(1).unwrap()).unwrap();
    for (i, c) in t.split("%%\n").enumerate() {
        let mut s = SourceMap::default();
        let id = s.add(format!("case{i}"), c);
        match parse(c, id) {
            Ok(_) => println!("case{i} OK\n"),
            Err(e) => println!("{}", render(&e, &s, Style::Human { color: false })),
        }
    }
}
