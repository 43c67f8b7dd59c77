module weir.example/pushes

go 1.24
