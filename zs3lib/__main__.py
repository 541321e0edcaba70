"""The commands of zs3lib; `make help` lists what make runs with them.

  python -m zs3lib.data.download  fetch the data and weights of the lite and paper profiles
  python -m zs3lib.toy            make the toy world
  python -m zs3lib.notebooks      run a notebook with parameters
  python -m zs3lib.tables         Tables I-III from the run records
  python -m zs3lib.protocols      the table of both protocols from the run records
  python -m zs3lib.report         executed notebooks as HTML
  python -m zs3lib.pictures       one picture of an executed notebook as a small PNG

Each has --help. From Python: `import zs3lib; help(zs3lib.Run)`.
"""

print(__doc__.strip())
