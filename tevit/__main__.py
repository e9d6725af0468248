from tevit.cli.main import console

console()
