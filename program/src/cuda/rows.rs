//! How the kernels of `rows.cuh` prepare the updates of all tables of a step: one sort of what the
//! features of all tables read, then sums by row.
//!
//! # What they do
//!
//! An **occurrence** is an element of a feature that reads a row. The occurrences of a table are
//! numbered feature by feature, and those of all tables lie behind each other in
//! [`RowsPointer::Keys`]. Each table's occurrences are sorted by row, stably, least significant
//! digit first, and its distinct rows are listed. Then a segmented sum adds the gradients of each
//! row in the order of its occurrences. The sorted occurrences are cut into **pieces** of a fixed
//! number, and each row, from its own beginning on, into **parts** of that number. The parts that
//! begin in a piece are the work of one group of lanes, and a second kernel adds the parts of one
//! row, part by part. So a row that occurs a hundred thousand times keeps as many lanes busy as a
//! hundred thousand rows, and the order of every sum depends on the batch alone: not on the rows'
//! numbers, which a resumed run gives anew.
//!
//! All tables share every launch: blocks are assigned to the tables one after the other, and
//! [`TableScalar`] says which blocks are whose.

use super::Cuda;

/// Declares an enum of positions with the C++ name of each variant and, where the kernels need it,
/// of their number.
macro_rules! kernel_enum {
    (
        $(#[$doc:meta])* $name:ident $(($count:literal))? {
            $($(#[$of:meta])* $variant:ident = $text:literal),* $(,)?
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        pub enum $name { $($(#[$of])* $variant),* }

        impl $name {
            /// How many there are.
            pub const COUNT: usize = [$($name::$variant),*].len();
            /// The same as an enum of C++.
            pub const CPP: &str = concat!("enum { ", $($text, ", ",)* $($count,)? "};\n");
        }
    };
}

/// Values of a digit of the sort.
pub const ROWS_DIGITS: u32 = 256;
/// Occurrences that a thread treats: a block has the threads' number times as many.
pub const ROWS_ROUNDS: u32 = 8;

/// A table in a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowsTable {
    /// Occurrences, and for how many there is room: launches depend on the latter alone but for
    /// [`TableScalar::Piece`].
    pub total: u32,
    /// Most occurrences that there is room for.
    pub room: u32,
    /// Rows of the table, and their width.
    pub rows: u32,
    /// Components of a row.
    pub width: u32,
    /// Whether all rows are updated.
    pub every: bool,
}

impl RowsTable {
    /// Occurrences of a piece: as long as such a row's pieces are few, as short as a group of lanes
    /// is done soon.
    pub fn piece(&self) -> u32 {
        if self.total < 1 << 16 { 64 } else { 256 }
    }

    /// Lanes of a group: a column each, as far as they go.
    fn lanes(&self) -> u32 {
        self.width.clamp(1, 32).next_power_of_two()
    }

    /// Pieces that there is room for.
    pub fn pieces(&self) -> u32 {
        self.room.div_ceil(self.piece())
    }
}

/// One launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowsLaunch {
    /// The name of the kernel in `rows.cuh`.
    pub kernel: &'static str,
    /// Blocks of the grid.
    pub blocks: u32,
    /// First bit of the digit; the launch's [`RowsScalar::Shift`].
    pub shift: u32,
    /// Whether the pairs of keys and places change roles.
    pub swapped: bool,
    /// Whether it needs gradients; those before it need the batch alone.
    pub sums: bool,
    /// Dynamic shared memory in bytes.
    pub shared: u32,
}

/// What a step launches for its tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowsPlan {
    /// In the order in which they run.
    pub launches: Vec<RowsLaunch>,
    /// The words of each table; [`TableScalar::FirstFeature`] and [`TableScalar::Features`] are 0.
    pub tables: Vec<[u32; TableScalar::COUNT]>,
    /// Words that [`RowsPointer::Counts`] must hold.
    pub counts: usize,
}

/// The launches for some tables, together with fewer than 2^32 occurrences.
pub fn plan_rows(cuda: &Cuda, tables: &[RowsTable]) -> RowsPlan {
    let (threads, warps) = (cuda.threads, cuda.threads / 32);
    let mut plan = RowsPlan { launches: Vec::new(), tables: Vec::new(), counts: 0 };
    let (mut first, mut blocks, mut summing, mut whole, mut bits) = (0, 0, 0, 0, 1);
    for table in tables {
        let own = table.room.div_ceil(threads * ROWS_ROUNDS);
        let lanes = table.lanes();
        let mut words = [0; TableScalar::COUNT];
        for (word, value) in [
            (TableScalar::First, first),
            (TableScalar::Total, table.total),
            (TableScalar::Width, table.width),
            (TableScalar::Rows, table.rows),
            (TableScalar::Every, u32::from(table.every)),
            (TableScalar::FirstBlock, blocks),
            (TableScalar::Blocks, own),
            (TableScalar::FirstSum, summing),
            (TableScalar::FirstWhole, whole),
            (TableScalar::Lanes, lanes),
            (TableScalar::Piece, table.piece()),
        ] {
            words[word as usize] = value;
        }
        plan.tables.push(words);
        first += table.total;
        blocks += own;
        summing += table.pieces().div_ceil(threads / lanes);
        whole += if table.every { table.rows.div_ceil(threads).max(1) } else { 0 };
        bits = bits.max(u32::BITS - table.rows.saturating_sub(1).leading_zeros());
    }
    let of_tables = tables.len() as u32;
    let digits = (warps * ROWS_DIGITS + warps) * 4;
    let mut swapped = false;
    let mut launch = |kernel, blocks, shift, swapped, shared| {
        if blocks > 0 {
            let sums = matches!(kernel, "din_rows_sum" | "din_rows_join");
            plan.launches.push(RowsLaunch { kernel, blocks, shift, swapped, sums, shared });
        }
    };
    launch("din_rows_keys", blocks, 0, false, 0);
    for shift in (0..bits).step_by(ROWS_DIGITS.ilog2() as usize) {
        launch("din_rows_count", blocks, shift, swapped, digits);
        launch("din_rows_scan", (of_tables * ROWS_DIGITS).div_ceil(warps), shift, swapped, 0);
        launch("din_rows_scatter", blocks, shift, swapped, digits);
        swapped = !swapped;
    }
    launch("din_rows_heads", blocks, 0, swapped, warps * 4);
    launch("din_rows_scan_heads", of_tables.div_ceil(warps), 0, swapped, 0);
    launch("din_rows_list", blocks, 0, swapped, warps * 4);
    launch("din_rows_every", whole, 0, swapped, threads * 4);
    launch("din_rows_sum", summing, 0, swapped, 0);
    launch("din_rows_join", summing, 0, swapped, 0);
    plan.counts = ROWS_DIGITS as usize * (blocks as usize + tables.len());
    plan
}

kernel_enum! {
    /// Addresses of the kernels, by position.
    RowsPointer {
        /// `u32`: sort keys and what rides along, twice.
        Keys = "DIN_KEYS",
        /// `u32`: the occurrence that each key is of.
        Places = "DIN_PLACES",
        /// `u32`: the keys of the other of two buffers, between which each digit of the sort moves
        /// them.
        OtherKeys = "DIN_OTHER_KEYS",
        /// `u32`: the occurrences of the other buffer.
        OtherPlaces = "DIN_OTHER_PLACES",
        /// `u32`: by table, counts by digit and block, or by block; then by table and digit their
        /// sums.
        Counts = "DIN_COUNTS",
        /// `u32`: the number of tables, the [`TableScalar`]s of each, then the [`FeatureScalar`]s
        /// of each feature of each.
        Scalars = "DIN_SCALARS",
        /// The [`TablePointer`]s of each table, then the [`FeaturePointer`]s of each feature of
        /// each.
        Tables = "DIN_TABLES",
    }
}

kernel_enum! {
    /// Words of a launch.
    RowsScalar {
        /// First bit of the digit.
        Shift = "DIN_SHIFT",
    }
}

kernel_enum! {
    /// Words of a table.
    TableScalar ("DIN_TABLE_SCALARS") {
        /// Where its occurrences begin, and how many there are.
        First = "DIN_FIRST",
        /// Occurrences in this batch.
        Total = "DIN_TOTAL",
        /// Components of a row.
        Width = "DIN_WIDTH",
        /// Rows of the table.
        Rows = "DIN_TABLE_ROWS",
        /// 1 where all of them are updated.
        Every = "DIN_EVERY",
        /// The first of its features, and their number.
        FirstFeature = "DIN_FIRST_FEATURE",
        /// How many features read the table.
        Features = "DIN_FEATURES",
        /// Its first block among those that share out occurrences, and their number.
        FirstBlock = "DIN_FIRST_BLOCK",
        /// Blocks that treat its occurrences.
        Blocks = "DIN_BLOCKS",
        /// Its first block among those that share out pieces, and those that share out all rows.
        FirstSum = "DIN_FIRST_SUM",
        /// First block of the launch over every row that treats it.
        FirstWhole = "DIN_FIRST_WHOLE",
        /// Lanes of a group, and occurrences of a piece.
        Lanes = "DIN_LANES",
        /// Occurrences of a piece; see [`RowsTable::piece`].
        Piece = "DIN_PIECE",
    }
}

kernel_enum! {
    /// Addresses of a table.
    TablePointer ("DIN_TABLE_POINTERS") {
        /// `u32`: where distinct rows are in the device's arrays, by ascending number.
        Rows = "DIN_ROWS",
        /// `u32`: where the occurrences of each begin, then their number.
        Begins = "DIN_BEGINS",
        /// `u32`: by piece, the rows that begin before it.
        Pieces = "DIN_PIECES",
        /// f32: summed gradients, in the order of the rows.
        Gradient = "DIN_GRADIENT",
        /// f32, by piece: sums of the part that begins in it, of a row that begins before it.
        FirstSums = "DIN_FIRST_SUMS",
        /// f32, by piece: sums of the first part of its last row, where that has several.
        LastSums = "DIN_LAST_SUMS",
        /// f32, or 0: see `Storage::InBatch`.
        InBatch = "DIN_IN_BATCH",
        /// f32, or 0: see `Storage::UpdateCount`.
        UpdateCount = "DIN_UPDATES",
        /// The word of the update that follows that says how many rows there are:
        /// [`super::ScalarArg::Elements`] of the samples.
        Elements = "DIN_ELEMENTS",
        /// f32: the same number for the update to compute with, `Storage::Count` of the samples.
        Count = "DIN_ROW_COUNT",
        /// `u32`, where all rows are updated: the row by the number that it is sorted by; 0 where
        /// that is the row's own.
        Order = "DIN_ORDER",
    }
}

kernel_enum! {
    /// Words of a feature.
    FeatureScalar ("DIN_FEATURE_SCALARS") {
        /// Occurrences of the table's features before it.
        Before = "DIN_BEFORE",
        /// Numbers from one gradient to the next.
        Stride = "DIN_FEATURE_STRIDE",
    }
}

kernel_enum! {
    /// Addresses of a feature.
    FeaturePointer ("DIN_FEATURE_POINTERS") {
        /// `u32`: row numbers.
        Rows = "DIN_FEATURE_ROWS",
        /// f32, or 0 where none flows.
        Gradient = "DIN_FEATURE_GRADIENT",
        /// `u32`: where the rows are in the device's arrays, or 0 where that is their number. Rows
        /// are ordered by their numbers.
        Places = "DIN_FEATURE_PLACES",
    }
}

kernel_enum! {
    /// Addresses of the kernels that move rows between a table's arrays and packed rows,
    /// `din_rows_out` and `din_rows_in`, by position. A packed row is its place in the arrays
    /// (`u32`), then its numbers of every array.
    MovePointer {
        /// Packed rows that come; the first [`MoveScalar::Out`] of them come where another row
        /// goes.
        Coming = "DIN_COMING",
        /// Room for the packed rows that go.
        Going = "DIN_GOING",
        /// f32: the arrays, by number.
        Arrays = "DIN_ARRAYS",
    }
}

kernel_enum! {
    /// Words of the same kernels.
    MoveScalar ("DIN_ARRAY_WIDTHS") {
        /// Rows that go, and rows that come.
        Out = "DIN_OUT",
        /// Rows that come.
        In = "DIN_IN",
        /// Words of a packed row.
        Stride = "DIN_STRIDE",
        /// Number of arrays; then by array the numbers of a row, from the next word on.
        Arrays = "DIN_ARRAY_COUNT",
    }
}

/// Writes what stands before `rows.cuh`: the names by which its kernels find what they are given.
pub fn print_rows_header() -> String {
    let enums = [
        RowsPointer::CPP,
        TablePointer::CPP,
        FeaturePointer::CPP,
        RowsScalar::CPP,
        TableScalar::CPP,
        FeatureScalar::CPP,
        MovePointer::CPP,
        MoveScalar::CPP,
    ];
    let numbers = format!("#define DIN_DIGITS {ROWS_DIGITS}u\n#define DIN_ROUNDS {ROWS_ROUNDS}u\n");
    enums.concat() + &numbers
}

#[cfg(test)]
mod tests {
    use super::super::Precision;
    use super::*;

    fn table(room: u32, rows: u32, width: u32, every: bool) -> RowsTable {
        RowsTable { total: room, room, rows, width, every }
    }

    #[test]
    fn launches_do_not_grow_with_tables() {
        let cuda = Cuda { precision: Precision::F32, threads: 256, chunks: 256, schedules: vec![] };
        let kernels = |tables: &[RowsTable]| -> Vec<(&str, u32, bool)> {
            plan_rows(&cuda, tables).launches.iter().map(|l| (l.kernel, l.shift, l.swapped)).collect()
        };
        let one = kernels(&[table(131_072, 100_000, 16, false)]);
        // Keys, three digits of three launches, three for the list, two for the sums.
        assert_eq!(one.len(), 1 + 3 * 3 + 3 + 2);
        let many: Vec<RowsTable> = (1..40).map(|k| table(1000 * k, 2500 * k, k, false)).collect();
        assert_eq!(kernels(&many), one);
        assert_eq!(kernels(&[many, vec![table(9, 5, 4, true)]].concat()).len(), one.len() + 1);
    }

    /// Every block is one table's, and all of its occurrences, pieces and rows have a block.
    #[test]
    fn blocks_are_dealt_out() {
        let cuda = Cuda { precision: Precision::F32, threads: 64, chunks: 8, schedules: vec![] };
        let tables =
            [table(0, 3, 1, true), table(513, 70, 40, false), table(512, 1, 3, true), table(70_000, 9, 8, false)];
        let plan = plan_rows(&cuda, &tables);
        let blocks = |kernel: &str| plan.launches.iter().find(|l| l.kernel == kernel).map_or(0, |l| l.blocks);
        let of = |first: TableScalar, all: u32| -> Vec<u32> {
            let firsts: Vec<u32> = plan.tables.iter().map(|t| t[first as usize]).chain([all]).collect();
            assert!(firsts[0] == 0 && firsts.is_sorted());
            firsts.windows(2).map(|w| w[1] - w[0]).collect()
        };
        assert_eq!(of(TableScalar::FirstBlock, blocks("din_rows_keys")), [0, 2, 1, 137]);
        // Pieces of 64 or 256, in groups of 1, 32, 4 and 8 lanes.
        assert_eq!(of(TableScalar::FirstSum, blocks("din_rows_sum")), [0, 5, 1, 35]);
        assert_eq!(of(TableScalar::FirstWhole, blocks("din_rows_every")), [1, 0, 1, 0]);
        let firsts: Vec<u32> = plan.tables.iter().map(|t| t[TableScalar::First as usize]).collect();
        assert_eq!(firsts, [0, 0, 513, 1025]);
        assert_eq!(plan.counts, 256 * (140 + 4));
    }
}
