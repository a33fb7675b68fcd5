// Where statements, members, settings and fields end: grammar/src/din.pest, `end_of_statement` and
// the rules like it. All tokens are empty and stand before what ends the construct, and there is no
// state, so that a line end inside `( )` and `[ ]`, where none of them may follow, is a blank.

#include "tree_sitter/parser.h"

#include <string.h>

enum Token {
    // A statement, a member or a part of a test.
    END,
    END_OF_SETTING,
    // The end of a line or of a block, and no word.
    END_OF_LINE,
    // No rule has it: it may follow only while the parser recovers from an error.
    ERROR_SENTINEL,
};

// Words that begin a statement, a part of a test or a member. One list is enough: where a statement
// may end, no word but an operator could go on with it, so that a word of the wrong kind is an error
// either way.
static const char *const STARTS[] = {
    "let",       "layer",   "param", "constant", "state",  "update", "for",    "given",  "expect",  "features",
    "sequence",  "label",   "key",   "hyper",  "output", "train",  "report", "predict", "embedding",
    "assert",    "common",  "request", NULL,
};

static const char *const SETTINGS[] = {
    "loss",   "optimizer",  "batch", "epochs", "regularize", "clip",     "init",          "admit",   "evict",
    "seed",   "vocabulary", "select", "shuffle", "patience", "dropout",  "learning_rate", "accumulate", NULL,
};

static bool is_one_of(const char *word, const char *const *words) {
    for (; *words != NULL; words++) {
        if (strcmp(word, *words) == 0) {
            return true;
        }
    }
    return false;
}

static bool is_letter(int32_t c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

void *tree_sitter_din_external_scanner_create(void) { return NULL; }
void tree_sitter_din_external_scanner_destroy(void *payload) { (void)payload; }
unsigned tree_sitter_din_external_scanner_serialize(void *payload, char *buffer) {
    (void)payload;
    (void)buffer;
    return 0;
}
void tree_sitter_din_external_scanner_deserialize(void *payload, const char *buffer, unsigned length) {
    (void)payload;
    (void)buffer;
    (void)length;
}

bool tree_sitter_din_external_scanner_scan(void *payload, TSLexer *lexer, const bool *valid) {
    (void)payload;
    if (valid[ERROR_SENTINEL] || !(valid[END] || valid[END_OF_SETTING] || valid[END_OF_LINE])) {
        return false;
    }
    // No two of them may follow in one place.
    lexer->result_symbol = valid[END] ? END : valid[END_OF_SETTING] ? END_OF_SETTING : END_OF_LINE;
    lexer->mark_end(lexer);
    while (lexer->lookahead == ' ' || lexer->lookahead == '\t' || lexer->lookahead == '\r' ||
           lexer->lookahead == 0xFEFF) {
        lexer->advance(lexer, true);
    }
    if (lexer->eof(lexer) || lexer->lookahead == '\n' || lexer->lookahead == '}') {
        return true;
    }
    // A comment goes on to the end of the line.
    if (lexer->lookahead == '/') {
        lexer->advance(lexer, true);
        return lexer->lookahead == '/';
    }
    if (lexer->result_symbol == END_OF_LINE) {
        return false;
    }
    // Longer than any of the words.
    char word[16] = {0};
    for (unsigned length = 0; is_letter(lexer->lookahead); length++) {
        if (length + 1 == sizeof word) {
            return false;
        }
        word[length] = (char)lexer->lookahead;
        lexer->advance(lexer, true);
    }
    return is_one_of(word, lexer->result_symbol == END ? STARTS : SETTINGS);
}
