"""The paper's final model: U and V of CIELUV, each classified into 50 bins.

    python -m colorjax.main --config=configs/classify.py

On the bundled photographs, with two CPU cores and a randomly initialized encoder, this takes 3 min
48 s; the training loss falls from 7.4 to 3.9. The eleven training photographs get their true
colours, except for a few blotches. The hold-out set is a single photograph and not meaningful:
rounding alone changes its L_reg from 3026 to 5170. It has PSNR 14.7 dB and Sat. diff 0.19; the
constant predictor has L_reg 2190, 14.4 dB and 0.95.

With `--config.data.source=folder:PATH` on 1465 photographs of mountains, model.width=0.5,
batch_size=12 and num_steps=1200 it takes 30 min. The hold-out set has Acc.U 0.26, Acc.V 0.14, L_reg
461 and Sat. diff 0.44; the constant predictor has 0.25, 0.11, 748 and 0.75.
"""

from ml_collections import ConfigDict

from colorjax.errors import UserError


def get_config(variant: str = "sample") -> ConfigDict:
    """Builds the config.

    Variants:
      sample: the bundled photographs, on a CPU.
      paper: the paper's setting, for a GPU.
    """
    config = ConfigDict()
    config.mode = "train"  # resumes an interrupted run; or eval, prior, sweep, reproduce
    config.sweep = ()  # (("optimizer.learning_rate", (1e-4, 1e-3)), ...): all combinations are run
    config.sweep_by = "loss"  # the metric that selects the best run, lower is better
    config.sweep_index = -1  # index of the only run of the sweep to do; -1: all runs
    config.seed = 0
    config.batch_size = 6  # in total over all devices
    config.accumulate = 1  # number of batches whose gradients are accumulated for one update
    config.num_steps = 150
    config.steps_before = 0  # steps of the previous stage, which the run must have finished
    config.num_seconds = 0.0  # time limit, over which a cosine schedule decays to zero; 0: none
    config.log_every = 10
    config.eval_every = 50
    config.checkpoint_every = 50
    config.init_from = ""  # initialize the network from a run, a released file or `release`
    config.ema = 0.0  # decay of the weights' moving average, which is evaluated if not 0
    config.frames = 0.0  # share of the photographs that get a black or white frame in training
    config.ageing = 0.0  # strength, 0 to 1, of ops.ageing on the network's input in training
    config.max_skipped = 20  # consecutive non-finite steps after which the run stops
    config.figure_images = 6

    config.data = ConfigDict()
    config.data.source = "sample"  # or folder:PATH[,PATH...], packed:DIR[,DIR...], tfds:NAME
    config.data.holdout = 0.1  # share held out to monitor training and select the best checkpoint
    config.data.test = 0.0  # share reserved for evaluation; 0: evaluation uses the hold-out set
    config.data.holdout_folders = ()  # hold out only from these folders, ("coco",); (): from all
    config.data.weights = ()  # sampling weights of folders: (("scenes", 0.5),)
    config.data.max_images = 0  # use at most so many, evenly spread over the source; 0: all
    config.data.fit = "crop"  # make square by a centre crop; or scale: by resizing, as the paper
    config.data.load_size = 72  # side to which the squares are resized ...
    config.data.crop_size = 64  # ... and side of the random crops in training
    config.data.scale_jitter = 0.0  # resize crops of up to this share below load_size; 0: do not
    config.data.resident = False  # keep all photographs in the devices' memory, for a GPU
    config.data.min_chroma = 3.0  # mean of max(RGB) - min(RGB) below which a photograph is gray
    config.data.max_unreadable = 0.1  # share of files that may be skipped with a warning
    config.data.tfds_dir = ""  # folder of the TFDS data sets; "": the default
    config.data.cache_dir = ""  # cache for decoded squares (old ones may be deleted); "": none
    config.data.num_threads = 2
    config.data.statistics_images = 1000  # images for counting the bins' frequencies

    config.augment = ConfigDict()
    config.augment.crop = True  # at random; False: at the centre
    config.augment.flip = True

    config.objective = "classification"  # or regression
    config.space = "luv"  # or lab, yuv, hsv
    config.regression = ConfigDict()
    config.regression.loss = "l2"  # or huber
    config.regression.huber_m = 0.1  # above 0, in chroma / 100; tuned in configs/huber.py

    config.bins = ConfigDict()
    config.bins.layout = "channels"  # or joint: squares in the plane of both channels
    config.bins.num_bins = 50  # per channel
    config.bins.low = -100.0
    config.bins.high = 100.0
    config.bins.joint_width = 10.0  # side of the squares, which cover the whole gamut
    config.bins.value = "center"  # that a bin decodes to; or mean: of the training set's chroma
    config.bins.softness = 0.0  # sigma of the soft targets, in units of chroma; 0: one-hot targets

    config.rebalance = ConfigDict()  # class rebalancing: rare colours get more weight in the loss
    config.rebalance.enabled = False
    config.rebalance.uniform = 0.5  # share of the uniform distribution in the prior; 1: no effect
    config.rebalance.sigma = 5.0  # of the Gaussian that smooths the prior, in units of chroma

    config.perception = ConfigDict()  # perceptual loss by EfficientNet-Lite0, added to the loss
    config.perception.classes = 0.0  # weight of the divergence of class probabilities
    config.perception.maps = 0.0  # weight of the distance of feature maps

    config.decoding = ConfigDict()  # of logits, in evaluation and figures
    config.decoding.method = "argmax"  # or mean, annealed (mean at a temperature), sample
    config.decoding.temperature = 0.38  # of annealed and sample
    config.decoding.seed = 0  # of sample
    # Share of the class rebalancing that decoding keeps. 0: colours are as frequent as in the
    # photographs; 1: rare colours are more frequent.
    config.decoding.rebalance = 1.0
    config.decoding.vibrance = 0.0  # chroma added to means, which are paler than photographs

    config.model = ConfigDict()
    config.model.encoder = "vgg16"  # or squeezenet, efficientnet-lite0, whose outputs are smaller
    config.model.encoder_weights = "auto"  # or imagenet, none, or a file
    config.model.calibrate_batch_norm = True
    config.model.encoder_batch_norm = True
    config.model.train_depthwise = True  # kernels of efficientnet-lite0, expensive on a CPU
    config.model.frozen_stages = 0  # number of its first stages that are not trained
    config.model.final_batch_norm = False
    config.model.skip_batch_norm = True  # on the encoder's maps before they are added
    config.model.residual_units = True
    config.model.merge = "concat"  # or sum
    config.model.decoder_features = (256, 128, 64, 64)
    config.model.final_features = (128, 64, 64)
    config.model.upscaling = "nearest"  # or bilinear
    config.model.width = 1.0
    config.model.dtype = "float32"  # or bfloat16, for the computation; parameters stay float32

    config.optimizer = ConfigDict()
    config.optimizer.name = "adam"  # or nesterov
    config.optimizer.momentum = 0.9  # of nesterov
    config.optimizer.learning_rate = 1e-3  # the paper's for a few hundred images
    config.optimizer.encoder_rate = 1.0  # the encoder's learning rate as a share of learning_rate
    config.optimizer.b1 = 0.9
    config.optimizer.b2 = 0.999
    config.optimizer.schedule = "constant"  # or cosine
    config.optimizer.warmup_steps = 0
    config.optimizer.clip_norm = 0.0  # 0: off
    config.optimizer.weight_decay = 0.0

    if variant == "paper":
        config.data.fit = "scale"
        config.data.load_size = 224
        config.data.crop_size = 224
        config.augment.crop = False
        config.augment.flip = False
        config.bins.value = "mean"
        config.optimizer.learning_rate = 3e-4
        config.num_steps = 20_000
        config.log_every = 50
        config.eval_every = 1_000
        config.checkpoint_every = 500
    elif variant != "sample":
        raise UserError(f"configs/classify.py has no variant {variant!r}, want sample or paper")
    return config
