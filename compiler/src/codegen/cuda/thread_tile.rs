//! How the threads of a block share a product: the rows and columns per thread, chosen at compile
//! time by what the inner loop costs.
//!
//! A multiprocessor has four schedulers, each of which issues one instruction of a warp (32
//! multiply-adds) per cycle, and one path to shared memory and the first cache, which moves 32
//! values per cycle. For a step along k, a warp with R x S values per thread issues R S
//! multiply-adds and its loads. It moves S times 32 values of the right operand, which differ by
//! lane, and two times 32 for each vector of the left operand, which neighbouring lanes have in
//! common. Warps are dealt to the schedulers in turn, so a fifth warp takes as long again as the
//! first four.

/// Rows and columns of a thread; on tensor cores those of a warp, in sixteens and eights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadTile {
    pub rows: u32,
    pub columns: u32,
}

/// A product as threads see it: `rows` x `columns` numbers of result.
#[derive(Clone, Copy, Debug)]
pub struct ProductShape {
    pub rows: u32,
    pub columns: u32,
    /// Whether an operand is read by vectors of four: the left one along k, or in an outer product
    /// along its rows; the right one along its rows, or along k where lanes lie `down`.
    pub left: bool,
    pub right: bool,
    pub outer: bool,
    /// Whether it is done on tensor cores.
    pub tensor: bool,
    /// Whether neighbouring lanes have neighbouring rows rather than neighbouring columns.
    pub down: bool,
}

/// Most numbers of a thread, so that two blocks have their registers.
const MOST: u32 = 40;
const SCHEDULERS: u32 = 4;
/// Most rows and columns of a thread.
const ROWS: u32 = 8;
const COLUMNS: u32 = 10;
/// Most products of fragments of a warp for a step along k, each with four sums a lane; and the
/// cycles that one takes.
const FRAGMENTS: u32 = 10;
const FRAGMENT: u64 = 6;

impl ProductShape {
    /// Quarters of a cycle of a multiprocessor for a step along k.
    pub fn cost(&self, s: ThreadTile) -> u64 {
        let tiles = u64::from(self.rows.div_ceil(s.rows)) * u64::from(self.columns.div_ceil(s.columns));
        let warps = tiles.div_ceil(32);
        let (r, c) = (u64::from(s.rows), u64::from(s.columns));
        // Loads in quarters: a vector along k serves four steps.
        let along = |n: u64, vectors: bool| if vectors { n } else { 4 * n };
        let beside = |n: u64, vectors: bool| if vectors { 4 * (n / 4 + n % 4) } else { 4 * n };
        let left = if self.outer { beside(r, self.left) } else { along(r, self.left) };
        let right = if self.down { along(c, self.right) } else { beside(c, self.right) };
        let issue = warps.div_ceil(u64::from(SCHEDULERS)) * (4 * r * c + left + right);
        let common = |loads: u64, vectors: bool| if vectors { 2 * loads } else { loads };
        let moved = match self.down {
            true => 4 * r + common(right, self.right),
            false => common(left, self.left) + 4 * c,
        };
        issue.max(warps * moved)
    }

    /// Cycles for a step of fragments. A lane has four registers of sixteen rows and two of eight
    /// columns, each of which is loaded, rounded by two instructions, and addressed.
    fn fragments(&self, s: ThreadTile) -> u64 {
        let warps = u64::from(self.rows.div_ceil(16 * s.rows)) * u64::from(self.columns.div_ceil(8 * s.columns));
        let products = u64::from(s.rows) * u64::from(s.columns);
        let loads = 4 * u64::from(s.rows) + 2 * u64::from(s.columns);
        let issue = products + 4 * loads;
        (warps.div_ceil(u64::from(SCHEDULERS)) * issue.max(FRAGMENT * products)).max(warps * loads)
    }

    /// The cheapest share; of equal ones that of most threads.
    pub fn thread_tile(&self) -> ThreadTile {
        if self.tensor {
            let all = (1..=4).flat_map(|rows| (1..=FRAGMENTS / rows).map(move |columns| ThreadTile { rows, columns }));
            let size = |s: &ThreadTile| s.rows * s.columns;
            return all.min_by_key(|s| (self.fragments(*s), size(s))).expect("there is a tile of one fragment");
        }
        let mut best = (u64::MAX, 0, ThreadTile { rows: 1, columns: 1 });
        for rows in 1..=ROWS.min(self.rows) {
            for columns in 1..=COLUMNS.min(self.columns) {
                let thread_tile = ThreadTile { rows, columns };
                let cost = self.cost(thread_tile);
                if rows * columns <= MOST && (cost, rows * columns) < (best.0, best.1) {
                    best = (cost, rows * columns, thread_tile);
                }
            }
        }
        best.2
    }

    /// The part of the peak rate of multiply-adds that the share allows while all warps multiply.
    #[cfg(test)]
    pub fn part(&self, s: ThreadTile) -> f64 {
        f64::from(self.rows) * f64::from(self.columns) / 128.0 / (self.cost(s) as f64 / 4.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(rows: u32, columns: u32, outer: bool) -> ProductShape {
        ProductShape { rows, columns, left: true, right: true, outer, tensor: false, down: false }
    }

    /// The products of DIN, by what their shares allow.
    #[test]
    fn shares_keep_the_schedulers_busy() {
        let along = [(64, 80), (64, 40), (48, 80), (48, 48), (48, 40), (32, 200), (32, 80), (16, 200), (32, 48)];
        let outer = [(48, 80), (80, 40), (128, 200), (176, 200), (200, 80)];
        let all = along.map(|p| (p, false)).into_iter().chain(outer.map(|p| (p, true)));
        for ((rows, columns), outer) in all {
            let work = work(rows, columns, outer);
            let thread_tile = work.thread_tile();
            let part = work.part(thread_tile);
            println!(
                "{rows} x {columns}{}: {thread_tile:?}, {:.0} %",
                if outer { ", outer" } else { "" },
                100.0 * part
            );
            assert!(part > 0.6, "{rows} x {columns}: {thread_tile:?} allows {part}");
        }
    }

    /// On tensor cores: the share of a thousand multiply-adds a cycle.
    #[test]
    fn fragments_are_used_again() {
        for (rows, columns) in [(64, 80), (64, 40), (48, 80), (32, 200), (32, 80), (80, 40), (128, 200)] {
            let work = ProductShape { tensor: true, ..work(rows, columns, false) };
            let thread_tile = work.thread_tile();
            let part = f64::from(rows * columns * 8) / 1024.0 / work.fragments(thread_tile) as f64;
            println!("{rows} x {columns}: {thread_tile:?}, {:.0} %", 100.0 * part);
            assert!(
                part > 0.25 && thread_tile.rows * thread_tile.columns <= FRAGMENTS,
                "{rows} x {columns}: {thread_tile:?} allows {part}"
            );
        }
    }

    /// Whatever the sizes, a share is within them and within the registers.
    #[test]
    fn shares_are_within_bounds() {
        for rows in 1..70 {
            for columns in [1, 2, 3, 5, 8, 13, 36, 80, 301] {
                for bits in 0..16 {
                    let [left, right, outer, down] = [1, 2, 4, 8].map(|b| bits & b != 0);
                    let ThreadTile { rows: r, columns: c } =
                        ProductShape { rows, columns, left, right, outer, tensor: false, down }.thread_tile();
                    assert!((1..=rows.min(ROWS)).contains(&r) && (1..=columns.min(COLUMNS)).contains(&c));
                    assert!(r * c <= MOST);
                }
            }
        }
    }
}
