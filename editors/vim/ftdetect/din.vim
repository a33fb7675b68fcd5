autocmd BufRead,BufNewFile *.din setfiletype din
