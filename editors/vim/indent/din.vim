if exists("b:did_indent")
  finish
endif
let b:did_indent = 1

setlocal indentexpr=DinIndent()
setlocal indentkeys=0{,0},0),0],!^F,o,O
let b:undo_indent = "setlocal indentexpr< indentkeys<"

if exists("*DinIndent")
  finish
endif

function! DinIndent() abort
  let before = prevnonblank(v:lnum - 1)
  if before == 0
    return 0
  endif
  let text = substitute(getline(before), '//.*$', '', '')
  let depth = indent(before)
  if text =~ '[{(\[]\s*$'
    let depth += shiftwidth()
  endif
  if getline(v:lnum) =~ '^\s*[})\]]'
    let depth -= shiftwidth()
  endif
  return depth
endfunction
