; One file for three editors, each of which passes over the captures of the others: `@indent` and
; `@outdent` are of Helix, `@indent` and `@end` of Zed, `@indent.…` of Neovim.

(_ "{" "}" @end @outdent @indent.branch @indent.end) @indent @indent.begin
(_ "[" "]" @end @outdent @indent.branch @indent.end) @indent @indent.begin
(_ "(" ")" @end @outdent @indent.branch @indent.end) @indent @indent.begin
